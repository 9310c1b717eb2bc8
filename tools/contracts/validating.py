"""Validates data against an event schema, formats included. One law: it asks the schema only, never our classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker

from tools.contracts.shapes import Catalogue

FORMATS: Final = FormatChecker(formats=())
"""The formats of the closed subset; the standard checker knows none of them without further libraries."""

_INT64_END: Final = 1 << 63


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


@FORMATS.checks("int64", raises=ValueError)
def _is_int64(value: object) -> bool:
    return not isinstance(value, str) or -_INT64_END <= int(value) < _INT64_END


@FORMATS.checks("decimal", raises=ArithmeticError)
def _is_decimal(value: object) -> bool:
    return not isinstance(value, str) or (Decimal(value).is_finite() and re.search("[eE]", value) is None)


def complaints(schema: Mapping[str, Any], data: object) -> list[str]:
    """What is wrong with `data` under `schema`, one sentence each, in the order of the document."""
    found = Draft202012Validator(schema, format_checker=FORMATS).iter_errors(data)
    return [f"{error.json_path}: {error.message}" for error in sorted(found, key=lambda error: error.json_path)]


def wrong_examples(catalogue: Catalogue) -> list[str]:
    """Examples that their own schema refuses, and schemas that are none."""
    wrong = []
    for event in catalogue.events:
        Draft202012Validator.check_schema(event.raw)
        redacted = {field.name: field.redacted for field in event.body.fields if field.redacted is not None}
        wrong += [
            f"{event.path} x-redacted: {text}" for text in complaints(event.raw, {**event.examples[0], **redacted})
        ]
        for index, example in enumerate(event.examples):
            wrong += [f"{event.path} example {index}: {text}" for text in complaints(event.raw, example)]
            if len(set(map(json.dumps, event.examples))) != len(event.examples):
                wrong.append(f"{event.path}: the same example twice")
    return wrong
