"""The description of the HTTP API for machines: OpenAPI 3.1, made from the route table and the types.

Nothing is written twice: addresses, scopes and problems come from the routes, answers from the msgspec types that are
encoded, the share job from the form that it is decoded with.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from bot.domain import share
from bot.web.problems import KINDS, MEDIA_TYPE, ProblemDetails
from bot.web.routes import Answer, Body, Route

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_PARAMETERS = {
    "id": "An id, as it was given or answered.",
    "number": "A control number.",
    "payment": "A payment as `tuma payments` and the bill name it.",
    "token": "The token from a message.",
}
_TAGS = {
    "shares": "Hand in bills, and see what became of them.",
    "bills": "Control numbers, whoever shared them.",
    "messages": "Single messages.",
    "dead": "Messages that could not be sent: why, and how to try again.",
    "webhooks": "For providers only; each proves itself with its own signature.",
    "pages": "For customers: found by a token, shown as HTML.",
    "system": "For whoever runs this server.",
}
_JSON = dict[str, Any]


def document(routes: Sequence[Route], public_url: str | None) -> _JSON:
    """The whole description. Shapes: an OpenAPI 3.1 document as plain dicts, ready for JSON."""
    schemas, refs = _schemas(routes)
    paths: _JSON = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tuma",
            "version": version("tuma"),
            "summary": "Sends control numbers to customers, reminds them, and stops the second they pay.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": public_url or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[_JSON, Mapping[Any, _JSON]]:
    types = [ProblemDetails, *(a.body for route in routes for a in route.answers.values() if a.body)]
    types += [kind for route in routes if route.body for kind in route.body.schemas.values()]
    unique = [kind for kind in dict.fromkeys(types) if isinstance(kind, type)]
    refs, components = msgspec.json.schema_components(unique, ref_template=_REF)
    return {"ShareJob": share.schema(), **components}, dict(zip(unique, refs, strict=True))


def _operation(route: Route, refs: Mapping[Any, _JSON]) -> _JSON:
    operation: _JSON = {
        "operationId": f"{route.tag}_{getattr(route.handler, '__name__', 'handle')}",
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, refs),
    }
    if route.scopes:
        operation["security"] = [{"key": []}]
        operation["description"] = f"Needs a key with the scope {' or '.join(route.scopes)}."
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body, refs)}
    return operation


def _path_parameters(route: Route) -> list[_JSON]:
    return [
        {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": _TEXT}
        for name in _PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[_JSON]:
    if route.query is None:
        return []
    [_], parts = msgspec.json.schema_components([route.query])
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field["description"],
            "schema": _given(field, parts),
        }
        for name, field in parts[route.query.__name__]["properties"].items()
    ]


def _given(field: _JSON, parts: Mapping[str, _JSON]) -> _JSON:
    """The schema of a parameter that is there: it is never null, and enumerations stand in their place."""
    [kind] = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    if "$ref" in kind:
        kind = {"type": "string", "enum": parts[kind["$ref"].rpartition("/")[2]]["enum"]}
    return {**kind, "examples": field["examples"]}


def _header_parameters(route: Route) -> list[_JSON]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": _TEXT}
        for name, text in route.headers.items()
    ]


def _content(body: Body, refs: Mapping[Any, _JSON]) -> _JSON:
    return {media: {"schema": _body_schema(kind, refs)} for media, kind in body.schemas.items()}


def _body_schema(kind: Any, refs: Mapping[Any, _JSON]) -> _JSON:
    if isinstance(kind, str):
        return {"$ref": _REF.format(name=kind)}
    return refs[kind] if kind is not None else {}


def _responses(route: Route, refs: Mapping[Any, _JSON]) -> _JSON:
    responses = {str(status): _answer(answer, refs) for status, answer in route.answers.items()}
    by_status: dict[str, list[str]] = {}
    for kind in route.problems:
        by_status.setdefault(str(KINDS[kind].status), []).append(KINDS[kind].title)
    content = {MEDIA_TYPE: {"schema": refs[ProblemDetails]}}
    problems = {
        status: {"description": "; ".join(titles), "content": content} for status, titles in by_status.items()
    }
    return dict(sorted({**problems, **responses}.items()))


def _answer(answer: Answer, refs: Mapping[Any, _JSON]) -> _JSON:
    if answer.body is None and answer.media_type == "application/json":
        return {"description": answer.meaning}
    schema = refs[answer.body] if answer.body is not None else _TEXT
    page = {"text/html": {"schema": _TEXT}} if answer.page else {}
    return {"description": answer.meaning, "content": {answer.media_type: {"schema": schema}, **page}}


_TEXT: _JSON = {"type": "string"}
