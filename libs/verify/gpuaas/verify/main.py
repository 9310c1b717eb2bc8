"""`gpuaas-verify`: the verifier at the command line. One law: exit code 0 means proved, and nothing else does.

0 verified · 1 refuted · 2 unusable (cannot be read, or no trusted key was given). It reads files and nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpuaas.verify.bundles import verify_bundle
from gpuaas.verify.decisions import verify_decision
from gpuaas.verify.epochs import verify_epoch
from gpuaas.verify.erasures import verify_erasure
from gpuaas.verify.exports import verify_export
from gpuaas.verify.handovers import verify_handover
from gpuaas.verify.mirrors import verify_mirror
from gpuaas.verify.policy import Policy, read_policy, trusting
from gpuaas.verify.refusals import Unusable
from gpuaas.verify.reports import EXIT_CODES, Report
from gpuaas.verify.rows import verify_growth, verify_rows
from gpuaas.verify.statements import evidence_keys


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args(arguments)
    report = Report(what=options.command)
    with report.deciding():
        report = _judge(options, _policy(options))
    print(report.as_json() if options.json else report.as_text())
    return report.exit_code


def _judge(options: argparse.Namespace, policy: Policy) -> Report:
    match options.command:
        case "invoice":
            return verify_bundle(options.bundle, policy, options.tenant)
        case "decision":
            return verify_decision(options.folder, policy, evidence_keys(options.evidence_key))
        case "rows":
            return verify_rows(options.rows, policy)
        case "erasure":
            return verify_erasure(options.certificate, policy)
        case "epoch":
            return verify_epoch(options.epoch, policy, options.tenant)
        case "export":
            return verify_export(options.tarball, policy, options.whole, options.complete)
        case "handover":
            return verify_handover(options.note, policy)
        case "tree":
            return verify_mirror(options.folder, policy)
        case _:
            return verify_growth(options.old, options.new, options.proof, policy)


def _policy(options: argparse.Namespace) -> Policy:
    try:
        held = [Path(file).read_bytes() for file in options.held]
    except OSError as broken:
        raise Unusable("unreadable", f"a checkpoint that you hold cannot be read: {broken}") from broken
    return _trusted(options).holding(*held)


def _trusted(options: argparse.Namespace) -> Policy:
    if options.policy is None:
        return trusting(*options.key)
    if options.key:
        raise Unusable("bad-policy", "give --policy or --key, not both")
    try:
        return read_policy(Path(options.policy).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as broken:
        raise Unusable("bad-policy", f"the policy file cannot be read: {broken}") from broken


def _parser() -> argparse.ArgumentParser:
    trust = argparse.ArgumentParser(add_help=False)
    trust.add_argument("--key", action="append", default=[], metavar="VKEY", help="the log's verifier key; may repeat")
    trust.add_argument("--policy", metavar="FILE", help="a C2SP tlog-policy file with the trusted logs and witnesses")
    trust.add_argument(
        "--held",
        action="append",
        default=[],
        metavar="NOTE",
        help="a checkpoint that you hold: evidence under an older one, or another of its size, is refused; may repeat",
    )
    trust.add_argument("--json", action="store_true", help="print the report as JSON")
    parser = argparse.ArgumentParser(
        prog="gpuaas-verify",
        description="Verify GPUaaS invoices and audit proofs offline. Exit code: "
        + ", ".join(f"{code} {verdict}" for verdict, code in EXIT_CODES.items())
        + ".",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    invoice = commands.add_parser("invoice", parents=[trust], help="an invoice bundle follows from the log")
    invoice.add_argument("bundle", help="bundle.json, bundle.json.gz, or a folder that holds one")
    invoice.add_argument("--tenant", metavar="ID", help="refuse a bundle of any other tenant")
    decision = commands.add_parser("decision", parents=[trust], help="a gate's decision follows from logged evidence")
    decision.add_argument("folder", help="as `gpuaas evidence export` writes it")
    decision.add_argument(
        "--evidence-key", action="append", default=[], metavar="HEX", help="whose signed records count; may repeat"
    )
    rows = commands.add_parser("rows", parents=[trust], help="trail rows (answers with proof=1) are in the log")
    rows.add_argument("rows", help="a JSON file")
    erasure = commands.add_parser(
        "erasure", parents=[trust], help="a certificate shows that a person's data was erased"
    )
    erasure.add_argument("certificate", help="a JSON file")
    tree = commands.add_parser("tree", parents=[trust], help="a mirrored folder of tiles is the whole signed tree")
    tree.add_argument("folder")
    epoch = commands.add_parser("epoch", parents=[trust], help="an epoch is balanced and commits to a tenant's tree")
    epoch.add_argument("epoch", help="a JSON file, as `gpuaas audit epoch` saves it")
    epoch.add_argument("--tenant", metavar="ID", help="refuse a document of any other tenant")
    export = commands.add_parser("export", parents=[trust], help="a trail taken home (`--format tar`) is in the log")
    export.add_argument("tarball", help="as `gpuaas audit export --format tar` saves it")
    export.add_argument("--whole", action="store_true", help="refuse one that lacks a leaf of the signed tree")
    export.add_argument(
        "--complete", action="store_true", help="refuse one that does not show that it holds all it was asked for"
    )
    handover = commands.add_parser("handover", parents=[trust], help="a trusted key names the log's next one")
    handover.add_argument("note", help="a file: the handover note of a log-key-announced event")
    growth = commands.add_parser("growth", parents=[trust], help="a newer checkpoint continues an older one")
    for name, text in (("old", "older checkpoint"), ("new", "newer checkpoint"), ("proof", "hashes, one a line")):
        growth.add_argument(name, help=f"file: {text}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
