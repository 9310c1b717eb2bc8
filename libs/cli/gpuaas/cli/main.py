"""The `gpuaas` command. One law: it starts fast, so each subcommand is imported only when it is called."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

_COMMANDS: Final = {
    "up": ("up_command", "Start the whole suite here and keep it running until Ctrl-C."),
    "demo": ("demo_command", "Run the main job on real input: fleet, jobs, invoices, proof."),
    "login": ("login", "Sign in as a person, by approving a code or with a password."),
    "logout": ("logout", "End the session here."),
    "whoami": ("whoami", "Who the other commands speak as, and what they hold."),
    "iam": ("iam", "People, sessions, rights: users, approve, explain, who-can."),
    "status": ("status", "Where every service and reader of the running suite stands."),
    "doctor": ("doctor", "Look for what is wrong and say what to do."),
    "profile": ("profile", "Environments: show, diff, check."),
    "load": ("load", "Hold a rate of requests; what each stage takes, and what gives first."),
    "backup": ("backup", "Copy the log and the keys, and verify a copy."),
    "restore": ("restore", "Make the log and the keys out of a copy, in an empty place."),
    "events": ("events", "The log: tail, show, replay, stats."),
    "projections": ("projections", "Read models: status, rebuild."),
    "nodes": ("fleet", "The fleet: list, show, capacity, hold, cordon, drain, maintenance."),
    "inventory": ("inventory", "What exists, what was expected, what is missing."),
    "allocate": ("allocate", "Ask for GPUs in a project."),
    "release": ("release", "Give GPUs back."),
    "why-not": ("why_not", "Why an allocation is not on a machine."),
    "what-if": ("what_if", "What a request would meet: now, with more machines, under another policy."),
    "policy-lab": ("policy_lab", "A stretch of the log under other rules: waits, fragments, preemptions."),
    "quota": ("quota", "Quotas: show, set."),
    "queue": ("queue", "Who waits, and at which place."),
    "queue-rules": ("queue_rules", "How a pool's waiting line goes: show, set."),
    "calendar": ("calendar", "What a pool has free when: held, kept, closed, free."),
    "reservations": ("reservations", "GPUs kept for a time to come: make, list, show, end."),
    "logs": ("logs", "What an allocation's workload says; --follow."),
    "exec": ("exec_command", "Run a command beside an allocation's workload."),
    "renew": ("renew", "Keep an allocation's GPUs for longer."),
    "why": ("why", "What happened to an allocation, and why."),
    "allocations": ("allocations", "Allocations of a project."),
    "allocation": ("allocation", "One allocation as it stands: show."),
    "quotes": ("quotes", "When requests were expected to start, and how right that was."),
    "idle": ("idle", "What used none of its GPUs, and what came of it."),
    "bill": ("bill", "Invoices and charges of a tenant; documents, credit, budgets, what-if."),
    "audit": ("audit", "The trail: search, export, mirror; personal data: hold, erase."),
    "verify": ("verify", "Check offline: an invoice, trail rows, a tree, a decision, an erasure."),
    "evidence": ("evidence", "Claims and gates: status, decide, profile-diff, export."),
}

_SECTIONS: Final = {
    "Begin": ("up", "demo", "login", "logout", "whoami"),
    "Work": (
        "allocate",
        "release",
        "renew",
        "allocations",
        "allocation",
        "reservations",
        "calendar",
        "idle",
        "logs",
        "exec",
        "queue",
        "queue-rules",
        "quotes",
        "quota",
        "why",
        "why-not",
        "what-if",
        "policy-lab",
    ),
    "Money": ("bill",),
    "Machines": ("nodes", "inventory"),
    "People and rights": ("iam",),
    "Proof": ("audit", "verify", "evidence"),
    "Run it": ("status", "doctor", "events", "projections", "profile", "load", "backup", "restore"),
}
"""What each command is for; `--help` shows them so."""


class _Lazy(click.Group):
    """A group whose commands live in `gpuaas.cli.commands` and whose help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"gpuaas.cli.commands.{_COMMANDS[name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS)
            raise click.NoSuchCommand(args[0], possibilities=near, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _COMMANDS))
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), _COMMANDS[name][1]) for name in names])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpuaas-cli", message="%(version)s")
def main() -> None:
    """GPUaaS: a control plane for GPU fleets.

    Begin with `gpuaas demo`, or `gpuaas up` and then the rest in another terminal. Shell completion:
    `eval "$(_GPUAAS_COMPLETE=bash_source gpuaas)"`.
    """
