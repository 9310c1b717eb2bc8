"""`gpuaas restore`: a copy becomes a log again. One law: into an empty place, and never back behind what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from gpuaas.cli.commands.backup import rows_of
from gpuaas.cli.commands.profile import NAMES, setting
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from gpuaas.cli.restore import Restored


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--to", "state_dir", type=click.Path(file_okay=False, path_type=Path), help="State folder; default .state."
)
@click.option(
    "--profile", type=click.Choice(NAMES), default="dev", show_default=True, help="Environment that it is restored for."
)
@setting
@click.option(
    "--newest-head",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A signed head of the platform's tree that somebody outside holds (`gpuaas audit checkpoint`).",
)
@click.option(
    "--vault",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The copy of the keys to personal data; without it names and addresses stay sealed.",
)
@as_json
def command(
    folder: Path,
    state_dir: Path | None,
    profile: str,
    given: tuple[str, ...],
    newest_head: Path | None,
    vault: Path | None,
    json_: bool,
) -> None:
    """Make the log and the keys out of the backup in FOLDER; `gpuaas up` then folds every read model again."""
    from gpuaas.cli.backup import as_document
    from gpuaas.cli.profile import layered
    from gpuaas.cli.restore import restore
    from gpuaas.cli.state import default_state_dir

    head = None if newest_head is None else newest_head.read_text("utf-8")
    if head is not None and len(head.split("\n")) < 3:
        fail(f"{newest_head} is no signed head")

    async def work() -> Restored:
        with progress_bar() as bar:
            task = bar.add_task("events", total=None)
            return await restore(
                folder,
                (state_dir or default_state_dir()).absolute(),
                layered(profile, given).profile,
                newest_head=head,
                progress=lambda done, _: bar.update(task, completed=done),
                vault=vault,
            )

    restored = finish(work)
    if json_:
        print_json(as_document(restored.verified) | {"events_s": restored.events_s, "whole_s": restored.whole_s})
        return
    rows = [
        *rows_of(restored.verified),
        ["appended in, seconds", restored.events_s],
        ["whole, seconds", restored.whole_s],
    ]
    print_table("Restored", ["what", "is"], rows)
    click.echo("gpuaas up folds the read models again.")
