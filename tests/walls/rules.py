"""The walls of the house as plain functions: a tree in, breaches out. One law: a rule reads files, never runs them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FUNCTION_LINES_MAX: Final = 70
FILE_LINES_MAX: Final = 500
GENERATED: Final = ("libs/common/gpuaas/contracts/",)
NAMELESS: Final = frozenset({"utils", "util", "helpers", "helper", "base", "manager", "managers", "misc", "types"})
SKIPPED_FOLDERS: Final = frozenset({".git", ".venv", ".venv-tools", ".state", "build", "dist", "__pycache__"})

SERVICE_FILES: Final = frozenset({"__init__.py", "app.py", "api.py", "reactions.py", "ports.py", "settings.py"})
SERVICE_FOLDERS: Final = frozenset({"domain", "projections", "adapters"})
SERVICE_EXTRAS: Final = {
    "audit/entities.py": "one list of its entities, for door, sealing and watching",
    "audit/watching.py": "compares the log with the trail, a background work of its own",
    "audit/desk.py": "what its route files share",
    "audit/routes": "its door by use; api.py names them",
    "billing/books.py": "compares all sums of the books, a background work of its own",
    "billing/cutting.py": "running work metered to a period's end, for its door",
    "billing/desk.py": "what its route files share",
    "billing/documents": "invoices, credit notes and ledgers in the forms others read, pure renderings",
    "billing/routes": "its door beyond api.py, by what is asked for",
    "billing/correcting.py": "corrections put together, for their door",
    "billing/papers.py": "what invoices and credit notes show, read from the tables for its documents",
    "billing/settling.py": "credit notes and payments, for its door and a reaction",
    "billing/spending.py": "a background work of its own, with the reactions that hurry it",
    "billing/shapes.py": "what its door takes and gives, shared by api.py and its projections",
    "billing/time_zones.py": "a place's offsets read for its door, so that its domain needs no zone database",
    "iam/attempts.py": "how often something may be tried, for its route files",
    "evidence/entities.py": "one list of its six entities, for doors, rooms and tests",
    "evidence/gathering.py": "gathers what a judgement rests on, as of one place in the log",
    "evidence/keeping.py": "lets gates decide and keeps looking; doors and reactions share it",
    "evidence/notary.py": "signs and stores what every record says",
    "evidence/reading.py": "reads claims back; doors and reactions share it",
    "evidence/routes": "its door in seven files; api.py names them",
    "allocations/routes": "its further doors, one file each; app.py names them",
    "iam/bootstrap.py": "the first operator, before anybody could grant anything",
    "iam/directories.py": "what a tenant's directory orders, carried out for its door",
    "iam/entities.py": "one list of its entities, for app and tests",
    "iam/failures.py": "failed sign-ins on their way into the log, a background work of its own",
    "iam/exchanging.py": "a token for a token; its token endpoint and the routes of workloads share it",
    "iam/key_uses.py": "when keys were used, a background work of its own",
    "iam/parts.py": "what its route files share",
    "iam/routes": "its door in several files; api.py names them",
    "iam/signing.py": "keys that sign tokens, a background work of its own",
    "iam/signing_in.py": "sessions begin, go on and end; several of its route files use it",
    "iam/vouched_people.py": "who somebody is that a provider or a directory vouches for; its doors share it",
    "inventory/entities.py": "one list of its kinds of histories, for door, reactions and tests",
    "inventory/routes": "its door in parts; api.py names them",
    "nodes/agent.py": "the process on the machines, not in the service",
    "nodes/guarding.py": "automatic withdrawals: a reaction to verdicts, and rounds over what was withheld",
    "nodes/monitor.py": "a reader of TELEMETRY, not of the log",
    "nodes/promising.py": "what taking machines away would break; doors, the reaction and the rounds ask it",
    "nodes/proving.py": "rounds over machines that are burnt in or reset, whose ends a provider reports later",
    "nodes/recoveries.py": "the reactions to proofs; reactions.py names the others",
    "nodes/routes": "its door in parts; api.py names them",
    "nodes/upkeep.py": "rounds over machines that slow work is done on, where a reaction would wait for an hour",
    "nodes/windows.py": "rounds over maintenance windows, whose steps are due by the clock and not by an event",
}
"""What one service has beyond the shape, and why. A new line here is a decision, not a convenience."""

SERVICE_ROOT: Final = frozenset({"README.md", "pyproject.toml", "gpuaas", "tests"})

GROUND: Final = frozenset({"errors", "events", "decider", "money", "ids", "wire"})
PURE_FROM_CLOCK: Final = frozenset({"rfc3339"})
IMPURE_MODULES: Final = frozenset(
    {"asyncio", "os", "pathlib", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "time", "uuid"}
)
IMPURE_CALLS: Final = frozenset({"now", "utcnow", "today"})
PURE_LIBRARIES: Final = frozenset({"cel", "defusedxml", "msgspec", "pydantic", "rfc8785"})
VERIFIER_LIBRARIES: Final = frozenset({"cryptography"})

# Written in pieces, so that this file does not break its own rule.
MACHINE_PATHS: Final = re.compile(
    "|".join([r"(?<![\w.])/ro" r"ot/", r"(?<![\w.])/wo" r"rk/", r"(?<![\w.])/ho" r"me/\w"])
)
REGISTRIES: Final = re.compile(
    "|".join(
        [
            "py" r"pi\.org",
            "python" r"hosted\.org",
            "doc" r"ker\.io",
            "gh" r"cr\.io",
            "registry" r"\.npmjs",
            "qu" r"ay\.io",
        ]
    )
)
UNFINISHED: Final = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b")
RESOLVERS_OWN: Final = frozenset({"uv.lock"})
TEXT_BYTES_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """Where a wall is broken, and how: `path` is relative to the tree."""

    path: str
    line: int
    said: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.said}"


Rule = Callable[[Path], Iterator[Breach]]


def tracked_files(root: Path) -> list[Path]:
    """Files git keeps or would keep, relative to `root`; every file outside the skipped folders without git."""
    if (root / ".git").exists():
        asked = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        said = subprocess.run(asked, capture_output=True, check=True).stdout.decode()
        found = sorted({Path(name) for name in said.split("\0") if name})
    else:
        found = sorted(path.relative_to(root) for path in root.rglob("*"))
    return [path for path in found if not SKIPPED_FOLDERS & set(path.parts) and (root / path).is_file()]


def python_files(root: Path) -> list[Path]:
    """Hand-written Python, relative to `root`."""
    return [path for path in tracked_files(root) if path.suffix == ".py" and not path.as_posix().startswith(GENERATED)]


@cache
def _parsed(path: Path, changed_ns: int) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return _parsed(path, path.stat().st_mtime_ns)


def functions_are_short(root: Path) -> Iterator[Breach]:
    """No function, with its decorators and docstring, above `FUNCTION_LINES_MAX` lines."""
    for path in python_files(root):
        for node in ast.walk(tree_of(root / path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Breach(str(path), node.lineno, f"{node.name} has {lines} lines; {FUNCTION_LINES_MAX} at most")


def files_are_short(root: Path) -> Iterator[Breach]:
    """No hand-written Python file above `FILE_LINES_MAX` lines."""
    for path in python_files(root):
        lines = len((root / path).read_text("utf-8").splitlines())
        if lines > FILE_LINES_MAX:
            yield Breach(str(path), lines, f"{lines} lines; {FILE_LINES_MAX} at most")


def init_files_are_empty(root: Path) -> Iterator[Breach]:
    """`__init__.py` says nothing, and the namespace package itself has none."""
    for path in tracked_files(root):
        if path.name == "__init__.py" and (root / path).read_bytes().strip():
            yield Breach(str(path), 1, "an __init__.py is empty")
        if path.parts[-2:] == ("gpuaas", "__init__.py"):
            yield Breach(str(path), 1, "gpuaas is a namespace of several packages; it has no __init__.py")


def names_say_what_is_inside(root: Path) -> Iterator[Breach]:
    """No file or folder of code is called after nothing in particular."""
    for path in python_files(root):
        for part in (*path.parts[:-1], path.stem):
            if part in NAMELESS:
                yield Breach(str(path), 1, f"{part!r} attracts everything; name it for what it holds")


def every_file_has_a_caption(root: Path) -> Iterator[Breach]:
    """Python files begin with a docstring: what it is, and its one law."""
    for path in python_files(root):
        if path.name != "__init__.py" and not (ast.get_docstring(tree_of(root / path)) or "").strip():
            yield Breach(str(path), 1, "no docstring at the top: say what this file is, and its one law")


def services_have_one_shape(root: Path) -> Iterator[Breach]:
    """Every service has the files of the design, and no others."""
    for home in sorted(path for path in root.glob("services/*") if path.is_dir()):
        name = home.name
        inside = home / "gpuaas" / name
        shown = f"services/{name}"
        kept = {
            Path(*path.relative_to(shown).parts[:1]).name for path in tracked_files(root) if path.is_relative_to(shown)
        }
        yield from (
            Breach(f"{shown}/{extra}", 1, "not part of a service's shape") for extra in sorted(kept - SERVICE_ROOT)
        )
        yield from (Breach(f"{shown}/{part}", 1, "missing") for part in sorted(SERVICE_ROOT - {"tests"} - kept))
        for path in sorted(inside.iterdir()) if inside.is_dir() else []:
            fits = path.name in (SERVICE_FOLDERS if path.is_dir() else SERVICE_FILES)
            excused = f"{name}/{path.name}" in SERVICE_EXTRAS or path.name in SKIPPED_FOLDERS
            if not fits and not excused:
                yield Breach(str(path.relative_to(root)), 1, "not part of a service's shape")
        if not (inside / "app.py").is_file():
            yield Breach(f"{shown}/gpuaas/{name}/app.py", 1, "missing: the one place where the service is put together")


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every import as (line, dotted name); `from a.b import c` is `a.b.c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)


def domains_are_pure(root: Path) -> Iterator[Breach]:
    """`domain/` imports contracts, ground floor, itself and pure libraries; no async, no clock, no chance."""
    for path in python_files(root):
        if len(path.parts) < 6 or path.parts[0] != "services" or path.parts[4] != "domain":
            continue
        tree = tree_of(root / path)
        for line, name in imported_names(tree):
            if not _may_enter_domain(name, path.parts[1]):
                yield Breach(str(path), line, f"a domain does not import {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield Breach(str(path), node.lineno, "a domain waits for nothing: no async")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_CALLS:
                yield Breach(str(path), node.lineno, f"a domain reads no clock: .{node.func.attr}()")


def _may_enter_domain(name: str, service: str) -> bool:
    parts = name.split(".")
    if parts[0] != "gpuaas":
        return parts[0] in PURE_LIBRARIES or (parts[0] in sys.stdlib_module_names and parts[0] not in IMPURE_MODULES)
    if parts[1:2] == ["contracts"] or parts[1:3] == [service, "domain"]:
        return True
    if parts[1:3] == ["common", "clock"]:
        return parts[3:4] != [] and parts[3] in PURE_FROM_CLOCK
    return parts[1:2] == ["common"] and len(parts) > 2 and parts[2] in GROUND


def verifier_stands_alone(root: Path) -> Iterator[Breach]:
    """`gpuaas.verify` imports the standard library, `cryptography` and itself."""
    for path in python_files(root):
        if path.parts[:4] != ("libs", "verify", "gpuaas", "verify"):
            continue
        for line, name in imported_names(tree_of(root / path)):
            top = name.split(".")[0]
            own = name.startswith("gpuaas.verify.")
            if not own and top not in VERIFIER_LIBRARIES and top not in sys.stdlib_module_names:
                yield Breach(str(path), line, f"the verifier does not import {name}")


def nothing_names_a_machine(root: Path) -> Iterator[Breach]:
    """No absolute path of somebody's machine and no registry's host name in any tracked text."""
    for path, number, text in _lines(root):
        if MACHINE_PATHS.search(text):
            yield Breach(str(path), number, "a path of one machine; write it relative to the repository")
        if REGISTRIES.search(text):
            yield Breach(str(path), number, "a registry's host name; leave the choice to the reader's own settings")


def nothing_is_left_for_later(root: Path) -> Iterator[Breach]:
    """No reminder in place of the work."""
    for path, number, text in _lines(root):
        if UNFINISHED.search(text):
            yield Breach(str(path), number, "a reminder instead of the work")


def _lines(root: Path) -> Iterator[tuple[Path, int, str]]:
    for path in tracked_files(root):
        if path.name in RESOLVERS_OWN or (root / path).stat().st_size > TEXT_BYTES_MAX:
            continue
        try:
            text = (root / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        yield from ((path, number, line) for number, line in enumerate(text.splitlines(), 1))


RULES: Final[tuple[Rule, ...]] = (
    functions_are_short,
    files_are_short,
    init_files_are_empty,
    names_say_what_is_inside,
    every_file_has_a_caption,
    services_have_one_shape,
    domains_are_pure,
    verifier_stands_alone,
    nothing_names_a_machine,
    nothing_is_left_for_later,
)
