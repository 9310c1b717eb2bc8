"""`gpuaas doctor`: what is wrong here. One law: each finding says what to do next."""

from __future__ import annotations

import click
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.command()
@click.option("--scrub", is_flag=True, help="Also read every server's copy of the log and compare it with audit's.")
@as_json
def command(scrub: bool, json_: bool) -> None:
    """Look at servers, services, readers, the log, the trail and the disk; exit status 1 when something is wrong."""
    from gpuaas.cli.ailments import WELL, examined, scrubbed
    from gpuaas.cli.state import default_state_dir

    async def work() -> list[dict[str, str]]:
        found = [finding async for finding in examined(default_state_dir())]
        return found + (await scrubbed(default_state_dir()) if scrub else [])

    findings = finish(work)
    if json_:
        print_json(findings)
    else:
        rows = [[finding["what"], finding["state"], finding["do"]] for finding in findings]
        print_table("Findings", ["what", "state", "do"], rows)
    if any(finding["state"] != WELL for finding in findings):
        raise SystemExit(1)
