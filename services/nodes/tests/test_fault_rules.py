"""Our rules against NVIDIA's own table of immediate actions: every code compared, nothing milder without a reason."""

from __future__ import annotations

import json
from importlib.resources import files

from gpuaas.nodes.domain.faults import LADDER, Action, built_in, provenance

TOLD = json.loads(files("gpuaas.nodes.domain").joinpath("fault_rules.v1.json").read_text("utf-8"))
LEAST = {
    "IGNORE": Action.NONE,
    "RESTART_APP": Action.NONE,
    "RESET_GPU": Action.RESET,
    "RESTART_VM": Action.RESET,
    "CHECK_MECHANICALS": Action.INSPECT,
    "RESTART_BM": Action.REBOOT,
    "UPDATE_SWFW": Action.INSPECT,
    "WORKFLOW_XID_45": Action.NONE,
    "WORKFLOW_XID_48": Action.RESET,
    "WORKFLOW_NVLINK_ERR": Action.RESET,
    "WORKFLOW_NVLINK5_ERR": Action.RESET,
    "FOLLOW_OTHER_XID": Action.NONE,
}
"""NVIDIA's bucket → the least that our ladder does about it at the first fault."""


def test_every_code_we_class_was_compared_and_no_other() -> None:
    compared = [code for codes in TOLD["nvidia"].values() for code in codes]
    assert len(compared) == len(set(compared))
    assert set(compared) == set(built_in().xid)
    assert len(compared) > 90


def test_no_code_is_judged_milder_than_nvidia_does_without_a_reason() -> None:
    rules = built_in()
    milder = {
        str(code)
        for bucket, codes in TOLD["nvidia"].items()
        for code in codes
        if LADDER.index(rules.classes[rules.class_of_xid(code)].action) < LADDER.index(LEAST[bucket])
    }
    assert milder == set(TOLD["milder"])
    assert all(len(reason) > 20 for reason in TOLD["milder"].values())


def test_sources_are_named() -> None:
    assert all(source["url"].startswith("https://") for source in TOLD["sources"])


def test_every_code_says_where_it_was_read() -> None:
    told = provenance()
    assert set(told) == set(built_in().xid)
    assert all(each["sources"] for each in told.values())
    assert told[48]["sources"] == ["table", "health-checks", "page-retirement"]
    assert {source["name"] for source in TOLD["sources"]} == {
        name for each in told.values() for name in each["sources"]
    }
    assert told[160]["milder_because"].startswith("sources disagree")
