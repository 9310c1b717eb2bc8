"""`gpuaas backup`: what cannot be made again. One law: it ends well only after the copy was read and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from gpuaas.cli.backup import Verified


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--verify", is_flag=True, help="Copy nothing; read the copy in FOLDER and compare it with audit's digests."
)
@click.option("--mend-from-audit", "mend", is_flag=True, help="Take what the log has lost from audit's own copy.")
@click.option(
    "--vault",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also copy the keys to personal data, into this file apart from the rest.",
)
@as_json
def command(folder: Path, verify: bool, mend: bool, vault: Path | None, json_: bool) -> None:
    """Copy the log and the keys of the suite that runs here into FOLDER, then verify the copy.

    The copy holds the installation's secrets: keep it as you keep those. Read models are not in it.
    """
    from contextlib import AsyncExitStack

    from gpuaas.cli.audit_copy import open_audit_copy
    from gpuaas.cli.backup import as_document, verify_backup, write_backup
    from gpuaas.cli.here import open_log, provisioner
    from gpuaas.cli.state import default_state_dir, running_endpoints
    from gpuaas.cli.vault_copy import write_vault
    from gpuaas.common.errors import GpuaasError

    if verify:
        try:
            verified = verify_backup(folder)
        except GpuaasError as spoilt:
            fail(spoilt.detail)
    else:

        async def work() -> Verified:
            with progress_bar() as bar:
                task = bar.add_task("events", total=None)
                async with AsyncExitStack() as held:
                    state = default_state_dir()
                    log = await held.enter_async_context(open_log())
                    copy = await held.enter_async_context(open_audit_copy(running_endpoints(state))) if mend else None

                    def show(done: int, of: int) -> None:
                        bar.update(task, completed=done, total=of)

                    done = await write_backup(log, state, folder, show, copy)
                    if vault is not None:
                        # After the log, so that no copied event is without its key.
                        await write_vault(await held.enter_async_context(provisioner(running_endpoints(state))), vault)
                    return done

        verified = finish(work)
    if json_:
        print_json(as_document(verified))
        return
    print_table("Backup", ["what", "is"], rows_of(verified))


def rows_of(verified: Verified) -> list[list[object]]:
    """What was seen, for people."""
    manifest = verified.manifest
    trees = {
        True: "every tree as audit signed it",
        False: "not as audit signed them",
        None: "audit's keys are not in it",
    }
    return [
        ["made", manifest.made_at],
        ["events", manifest.last_position],
        ["epochs as audit signed them", verified.epochs],
        ["vouched for up to position", verified.sealed_to],
        ["trees of all tenants", trees[verified.every_tree]],
        ["files of keys", len(manifest.keys_sha256)],
    ]
