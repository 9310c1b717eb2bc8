"""Whom to trust. One law: trust comes from the reader's side, never out of the evidence.

Format: https://c2sp.org/tlog-policy (`log`, `witness`, `group`, `quorum`). A `log` line names one installation's audit
log, such as `gpuaas.example/production`; that key vouches for the trees below its name and no others:
`<name>/platform` and `<name>/tenants/<tenant>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gpuaas.verify.checkpoints import Checkpoint, check_head, read_checkpoint
from gpuaas.verify.keys import COSIGNATURE, NOTE_SIGNATURE, VerifierKey, read_verifier_key
from gpuaas.verify.notes import Note, read_note
from gpuaas.verify.refusals import Refuted, Unusable

PLATFORM_TREE: Final = "platform"
POLICY_BYTES_MAX: Final = 256 * 1024

_TREE = re.compile(r"platform|tenants/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NONE: Final = "none"


def tenant_tree(tenant_id: str) -> str:
    """The name of a tenant's tree below its log."""
    return f"tenants/{tenant_id}"


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint that the policy accepts: `tree` is its name below `log`, empty for the log's own name."""

    log: VerifierKey
    tree: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Group:
    """Witnessed when at least `threshold` of `members` (witnesses or groups) are."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted logs and how many witnesses a checkpoint needs.

    Attributes:
        witnesses, groups: by their name in the policy.
        quorum: a witness, a group or `none`.
        held: checkpoints that the reader holds already: nothing older is accepted, and nothing else of their size.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = _NONE
    held: tuple[Checkpoint, ...] = ()

    def holding(self, *notes: str | bytes) -> Policy:
        """The same, for a reader who has these checkpoints. Raises what `accept` raises of one that is not trusted."""
        return replace(self, held=self.held + tuple(self.accept(note).checkpoint for note in notes))

    def accept(self, checkpoint_note: str | bytes) -> Head:
        """The checkpoint in a signed note, if this policy trusts it.

        Raises:
            Refuted: unknown origin, not signed by that log, too few witnesses, an empty tree; older than a checkpoint
                that the reader holds, or another of the same size.
            Unusable: not a signed checkpoint.
        """
        note = read_note(checkpoint_note)
        checkpoint = read_checkpoint(note.text)
        logs = self._keys_of(checkpoint.origin)
        signed = note.signers(log.under(checkpoint.origin) for log in logs)
        if not signed:
            raise Refuted("unsigned", f"the checkpoint of {checkpoint.origin} is not signed by the trusted key")
        self._check_quorum(note, checkpoint.origin)
        check_head(checkpoint)
        self._check_held(checkpoint)
        log = next(log for log in logs if log.public_key == signed[0].public_key)
        return Head(log=log, tree=checkpoint.origin[len(log.name) + 1 :], checkpoint=checkpoint)

    def _keys_of(self, origin: str) -> list[VerifierKey]:
        """The keys that may sign for an origin: all of one log, which had them one after another."""
        for log in sorted(self.logs, key=lambda log: len(log.name), reverse=True):
            below = origin.removeprefix(f"{log.name}/")
            if origin == log.name or (below != origin and _TREE.fullmatch(below)):
                return [each for each in self.logs if each.name == log.name]
        trusted = ", ".join(log.name for log in self.logs)
        raise Refuted("unknown-origin", f"the origin {origin[:120]!r} is not one of the trusted logs: {trusted}")

    def _check_quorum(self, note: Note, origin: str) -> None:
        if self.quorum == _NONE:
            return
        signed = {name for name, key in self.witnesses.items() if note.signers([key])}
        if not self._witnessed(self.quorum, signed):
            seen = ", ".join(sorted(signed)) or "none"
            raise Refuted(
                "no-quorum", f"the checkpoint of {origin} lacks the quorum {self.quorum!r}; cosigned by: {seen}"
            )

    def _check_held(self, checkpoint: Checkpoint) -> None:
        for held in (each for each in self.held if each.origin == checkpoint.origin):
            if checkpoint.size < held.size:
                sizes = f"{held.size:,} leaves; this one has {checkpoint.size:,}"
                raise Refuted("stale", f"you hold a checkpoint of {held.origin} with {sizes}")
            if checkpoint.size == held.size and checkpoint.root != held.root:
                raise Refuted("inconsistent", f"{held.origin} has two different trees of {held.size:,} leaves")

    def _witnessed(self, name: str, signed: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._witnessed(member, signed) for member in group.members) >= group.threshold


def trusting(*verifier_keys: str) -> Policy:
    """A policy of log keys alone.

    Raises:
        Unusable: no key, or one that is malformed or of low order.
    """
    return read_policy("".join(f"log {key}\n" for key in verifier_keys) + "quorum none\n")


def read_policy(text: str) -> Policy:
    """Parse a policy file.

    Raises:
        Unusable: malformed, without a log, without exactly one quorum line, or a key that cannot be trusted.
    """
    if len(text) > POLICY_BYTES_MAX or any(ord(ch) < 0x20 and ch not in "\t\n" for ch in text):
        raise Unusable("bad-policy", "a policy file is text of at most 256 KiB without control characters")
    reader = _Reader()
    for line in text.split("\n"):
        words = re.split(r"[ \t]+", line.strip(" \t"))
        if words != [""] and not words[0].startswith("#"):
            reader.read(words)
    return reader.policy()


class _Reader:
    """Builds a policy line by line; names refer backwards only."""

    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, VerifierKey] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None

    def read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._logs.append(self._fresh(vkey, NOTE_SIGNATURE, self._logs))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                key = self._fresh(vkey, COSIGNATURE, list(self._witnesses.values()))
                self._witnesses[self._new_name(name)] = key
            case ["group", name, threshold, *members] if members:
                self._groups[self._new_name(name)] = self._group(threshold, members)
            case ["quorum", name] if self._quorum is None:
                self._quorum = name if name == _NONE else self._known(name)
            case _:
                raise Unusable("bad-policy", f"the policy line {' '.join(words)[:120]!r} is not understood")

    def policy(self) -> Policy:
        if not self._logs:
            raise Unusable("no-trust", "no trusted log key: pass the log's verifier key, or a policy that names it")
        if self._quorum is None:
            raise Unusable("bad-policy", "a policy has exactly one quorum line (`quorum none` for no witnesses)")
        return Policy(tuple(self._logs), dict(self._witnesses), dict(self._groups), self._quorum)

    def _fresh(self, vkey: str, kind: int, known: list[VerifierKey]) -> VerifierKey:
        key = read_verifier_key(vkey)
        if key.kind != kind:
            raise Unusable(
                "bad-policy", f"the key of {key.name} is of type {key.kind:#04x}, here {kind:#04x} is needed"
            )
        if any(key.public_key == other.public_key for other in known):
            raise Unusable("bad-policy", f"the key of {key.name} stands twice in the policy")
        return key

    def _group(self, threshold: str, members: list[str]) -> Group:
        for member in members:
            if self._known(member) in self._members:
                raise Unusable("bad-policy", f"{member!r} is a member twice")
            self._members.add(member)
        words = {"all": len(members), "any": 1}
        count = words[threshold] if threshold in words else int(threshold) if threshold.isdecimal() else 0
        if not 1 <= count <= len(members):
            raise Unusable("bad-policy", f"{threshold[:20]!r} of {len(members)} members is no threshold")
        return Group(threshold=count, members=tuple(members))

    def _new_name(self, name: str) -> str:
        if name == _NONE or name in self._witnesses or name in self._groups:
            raise Unusable("bad-policy", f"the name {name[:80]!r} is taken")
        return name

    def _known(self, name: str) -> str:
        if name not in self._witnesses and name not in self._groups:
            raise Unusable("bad-policy", f"{name[:80]!r} is not defined on a line above")
        return name
