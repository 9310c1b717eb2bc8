"""Which of the shapes that will do is granted. One law: the most wanted that can be had, and the receipt says what was
passed over.

A gang that may start with fewer members gets as many as there is room for: whoever can be placed with n members can be
placed with fewer, so the most is found by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gpuaas.allocations.domain.placement import NoPlacement, Placement
from gpuaas.allocations.domain.shape import Form, Shape
from gpuaas.contracts.allocations import PassedOver

Try = Callable[[Shape], Placement | NoPlacement]


def first_of(forms: Sequence[Form], attempt: Try) -> Placement | NoPlacement:
    """The first of `forms` that can be had; else why not, of the first that waiting may help."""
    passed: list[PassedOver] = []
    refused: NoPlacement | None = None
    for form in forms:
        found = _most(form, attempt)
        if isinstance(found, Placement):
            return noted(found, form, passed)
        if len(forms) > 1 or form.is_elastic:
            found = replace(found, shape=form.least)
        passed.append(passed_over(form.shape, found.reason, found.detail))
        if refused is None or (refused.forever and not found.forever):
            refused = found
    assert refused is not None
    return refused


def passed_over(shape: Shape, reason: str, detail: str) -> PassedOver:
    """A line of the receipt."""
    return PassedOver(wanted=str(shape)[:200], reason=reason, detail=detail[:500])


def noted(found: Placement, form: Form, passed: Sequence[PassedOver]) -> Placement:
    """The placement with what its receipt says of the choice."""
    fewer = form.shape.replicas if len(found.members) < form.shape.replicas else None
    if not passed and fewer is None:
        return found
    said = {"passed_over": tuple(passed) or None, "replicas_wanted": fewer}
    return replace(found, receipt=found.receipt.model_copy(update=said))


def most_that(lowest: int, highest: int, holds: Callable[[int], bool]) -> int:
    """The greatest n of [lowest, highest] for which `holds`; it does for `lowest`, and below any for which it does."""
    while lowest < highest:
        middle = (lowest + highest + 1) // 2
        if holds(middle):
            lowest = middle
        else:
            highest = middle - 1
    return lowest


def _most(form: Form, attempt: Try) -> Placement | NoPlacement:
    whole = attempt(form.shape)
    if isinstance(whole, Placement) or not form.is_elastic:
        return whole
    least = attempt(form.least)
    if isinstance(least, NoPlacement):
        return least
    best = least

    def fits(replicas: int) -> bool:
        nonlocal best
        found = attempt(replace(form.shape, replicas=replicas))
        if isinstance(found, Placement):
            best = found
        return isinstance(found, Placement)

    most_that(form.replicas_min, form.shape.replicas - 1, fits)
    return best
