"""Alerts, runbooks, dashboard. One law: each alert fires on a metric there is, and has a page that says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from gpuaas.common import telemetry
from prometheus_client import REGISTRY

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
RULES: Final[list[dict[str, Any]]] = yaml.safe_load((DEPLOY / "telemetry" / "alerts.yaml").read_text())["groups"][0][
    "rules"
]
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "telemetry" / "dashboard.json").read_text())
QUERIES: Final = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
METRIC: Final = re.compile(r"\bgpuaas_[a-z_]+")


def metrics() -> set[str]:
    """Names of all series that services of this suite expose."""
    assert telemetry.READY is not None
    found = {family.name for family in REGISTRY.collect() if family.name.startswith("gpuaas_")}
    return {name + suffix for name in found for suffix in ("", "_total", "_bucket", "_count", "_sum")}


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in RULES), *QUERIES])
def test_every_query_is_promql_over_metrics_there_are(query: str) -> None:
    assert promql_parser.parse(query)
    used = set(METRIC.findall(query))
    assert used
    assert used <= metrics()


@pytest.mark.parametrize(
    "wrong", ["sum by (service (gpuaas_ready)", "rate(gpuaas_ready) > 0", "max(gpuaas_log_fill_ratio) >"]
)
def test_the_check_of_queries_can_say_no(wrong: str) -> None:
    with pytest.raises(ValueError):
        promql_parser.parse(wrong)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_its_runbook_with_the_same_condition(rule: dict[str, Any]) -> None:
    page = (DEPLOY / "runbooks" / f"{rule['alert']}.md").read_text()
    assert rule["annotations"]["runbook_url"] == f"deploy/runbooks/{rule['alert']}.md"
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["expr"] in page
    for part in ("**What it means.**", "**What to do.**", "**How this is known.**"):
        assert part in page


def test_no_runbook_is_without_its_alert() -> None:
    assert {path.stem for path in (DEPLOY / "runbooks").glob("*.md")} == {rule["alert"] for rule in RULES}


def test_a_runbook_names_only_tests_there_are() -> None:
    for path in (DEPLOY / "runbooks").glob("*.md"):
        for named in re.findall(r"(?:tests|libs)/[a-z_/]+\.py", path.read_text()):
            assert (ROOT / named).exists(), f"{path.name} names {named}"


def test_the_dashboard_shows_rate_errors_duration_and_every_reader() -> None:
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    assert {"Requests a second", "Share of failures", "Time of a request, 99 %", "Events behind, by reader"} <= titles
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
