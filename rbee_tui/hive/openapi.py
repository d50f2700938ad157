"""The OpenAPI description, made of the endpoints' table and the structs that they take and give."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

import rbee_tui
from rbee_tui.hive.endpoints import Endpoint
from rbee_tui.hive.event_stream import EventStream
from rbee_tui.hive.guard import OPEN_PATHS, Refusal

_REFUSED = {
    "400": "The request makes no sense.",
    "401": "The token is missing or wrong.",
    "403": "The Host or the Origin is wrong, or the Hub refuses this user.",
    "404": "There is no such thing.",
    "409": "Somebody else is at work on it, or it must not be done.",
    "415": "The body is not JSON.",
}


Schemas = dict[str, dict[str, Any]]
"""By the type's own words."""


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description, as OpenAPI 3.1; `x-events` are the kinds of a stream's events."""
    types = [each for endpoint in endpoints for each in _types(endpoint)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    known = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rbee hive", "version": rbee_tui.__version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _types(endpoint: Endpoint) -> list[Any]:
    own = [each for each in (endpoint.takes, endpoint.gives) if each is not None and each is not EventStream]
    return [*own, *(kind for _, kind in endpoint.tells), Refusal]


def _operation(endpoint: Endpoint, known: Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {"summary": endpoint.summary, "responses": _responses(endpoint, known)}
    names = re.findall(r"{(\w+)}", endpoint.path)
    if names:
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if endpoint.takes is not None:
        content = {"application/json": {"schema": known[repr(endpoint.takes)]}}
        said["requestBody"] = {"required": True, "content": content}
    if endpoint.path in OPEN_PATHS:
        said["security"] = []
    return said


def _responses(endpoint: Endpoint, known: Schemas) -> dict[str, Any]:
    answer = {"description": endpoint.summary, "content": _content(endpoint, known)}
    refusal = {"application/json": {"schema": known[repr(Refusal)]}}
    refused = {code: {"description": text, "content": refusal} for code, text in _REFUSED.items()}
    return {str(endpoint.status): answer} | refused


def _content(endpoint: Endpoint, known: Schemas) -> dict[str, Any]:
    if endpoint.gives is EventStream:
        events = {name: known[repr(kind)] for name, kind in endpoint.tells}
        return {"text/event-stream": {"schema": {"type": "string"}, "x-events": events}}
    if endpoint.gives is None:
        return {"text/plain": {"schema": {"type": "string"}}}
    return {"application/json": {"schema": known[repr(endpoint.gives)]}}
