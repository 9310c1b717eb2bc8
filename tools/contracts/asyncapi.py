"""The contracts as an AsyncAPI 3 document. One law: it says nothing that the schemas and the envelope do not say.

One channel per entity: its address is the subject, its messages are the events of its history. Payloads point at the
schema files beside this document. Source: AsyncAPI 3.0.0; CloudEvents 1.0.2, JSON format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from tools.contracts.shapes import LABEL, Catalogue, EventSchema

_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_PLACEHOLDER: Final = re.compile(r"\{([a-z0-9_]+)\}")
_ENVELOPE_REQUIRED: Final = (
    ("specversion", "Version of CloudEvents: 1.0."),
    ("id", "Id of the event; in a reaction derived from its cause, so that a repeat has the same id."),
    ("source", "Who said it: the service."),
    ("type", "What happened, and the version of its schema."),
    ("subject", "Whose history it belongs to."),
    ("time", "When it happened: RFC 3339 in UTC with microseconds."),
    ("datacontenttype", "How `data` is written: application/json."),
    ("dataschema", "Which schema describes `data`."),
    ("tenantid", "The tenant it belongs to; `platform` if it belongs to none."),
    ("actor", "Who made it happen."),
    ("actorkind", "What kind of actor that is."),
    ("causationid", "Id of what caused it: an event's or a request's."),
    ("correlationid", "Id of the first cause of the whole chain."),
    ("sequence", "Version of the entity after this event, counted from 1."),
    ("profile", "The environment it happened in."),
)
_ENVELOPE_OPTIONAL: Final = (
    ("projectid", "The project it belongs to."),
    ("onbehalfof", "For whom the actor acted."),
    ("traceparent", "W3C trace context."),
    ("causedigest", "Digest of what a repeatable request asked, 32 hex digits."),
    ("sealed", "Personal values of the event, sealed for one person: base64url of nonce and AES-256-GCM ciphertext."),
    ("sealedby", "Whose key opens `sealed`: `<service>/<data subject>`."),
)
_ATTRIBUTE_LENGTH_MAX: Final = 512
_SEALED_LENGTH_MAX: Final = 8_192


def asyncapi_json(catalogue: Catalogue, version: str) -> str:
    """The document as JSON text. `version`: the suite's version."""
    newest = [event for event in catalogue.events if catalogue.is_newest(event)]
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "GPUaaS events",
            "version": version,
            "description": "Every fact the services of GPUaaS publish. One channel is one entity's history. "
            "Generated from schemas/events by `python -m tools.contracts generate`; do not edit.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {_channel_name(events[0]): _channel(events) for events in _histories(newest)},
        "operations": {
            f"{_channel_name(events[0])}.append": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_channel_name(events[0])}"},
                "summary": f"Only the service `{events[0].service}` appends to this history; anybody may read it.",
            }
            for events in _histories(newest)
        },
        "components": {
            "messages": {_message_name(event): _message(event) for event in newest},
            "schemas": {"CloudEvent": {"schemaFormat": _SCHEMA_FORMAT, "schema": _envelope()}},
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _histories(events: Iterable[EventSchema]) -> list[list[EventSchema]]:
    return [list(group) for _, group in groupby(events, key=lambda event: (event.service, event.entity))]


def _channel_name(event: EventSchema) -> str:
    return f"{event.service}.{event.entity}"


def _message_name(event: EventSchema) -> str:
    return f"{event.service}.{event.class_name}"


def _channel(events: list[EventSchema]) -> dict[str, Any]:
    address = events[0].subject
    names = _PLACEHOLDER.findall(address)
    channel: dict[str, Any] = {
        "address": address,
        "title": f"{events[0].entity} of {events[0].service}",
        "messages": {each.class_name: {"$ref": f"#/components/messages/{_message_name(each)}"} for each in events},
    }
    if names:
        described = "A token of the subject: 1 to 63 of a-z, 0-9 and inner hyphens."
        channel["parameters"] = {name: {"description": described} for name in dict.fromkeys(names)}
    return channel


def _message(event: EventSchema) -> dict[str, Any]:
    return {
        "name": event.type,
        "title": event.title,
        "summary": event.description,
        "contentType": "application/cloudevents+json",
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {
                "allOf": [
                    {"$ref": "#/components/schemas/CloudEvent/schema"},
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": event.type},
                            "data": {"$ref": f"events/{event.path}"},
                        },
                    },
                ]
            },
        },
    }


def _envelope() -> dict[str, Any]:
    attributes = (*_ENVELOPE_REQUIRED, *_ENVELOPE_OPTIONAL)
    properties: dict[str, Any] = {
        name: {"description": text, "type": "string", "minLength": 1, "maxLength": _ATTRIBUTE_LENGTH_MAX}
        for name, text in attributes
    }
    properties["tenantid"]["pattern"] = LABEL
    properties["sealed"]["maxLength"] = _SEALED_LENGTH_MAX
    properties["data"] = {"description": "The event's own data, as its schema says.", "type": "object"}
    return {
        "description": "A CloudEvents 1.0 event in structured JSON mode: the payload of every message.",
        "type": "object",
        "required": [*(name for name, _ in _ENVELOPE_REQUIRED), "data"],
        "properties": properties,
    }
