"""`gpuaas verify`: the offline verifier, which trusts nothing of the suite."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Check a bundle offline; `gpuaas verify --help` shows the verifier's own options."""
    from gpuaas.verify.main import main

    raise SystemExit(main(list(arguments)))
