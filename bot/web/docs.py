"""The description of the HTTP API for people: one page, made from the same document as `/openapi.json`.

Works offline: no script, no font, nothing from anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.web.problems import KINDS

_DEPTH = 4
_JSON = Mapping[str, Any]


def values(document: _JSON) -> dict[str, Any]:
    """The variables of `docs.html`."""
    schemas = document["components"]["schemas"]
    operations = list(_operations(document))
    return {
        "title": document["info"]["title"],
        "version": document["info"]["version"],
        "summary": document["info"]["summary"],
        "tags": [_tag(tag, operations) for tag in document["tags"]],
        "schemas": [_schema(name, schemas[name], schemas) for name in schemas],
        "problems": [
            {"kind": kind, "status": row.status, "title": row.title, "remedy": _plain(row.remedy)}
            for kind, row in KINDS.items()
        ],
    }


def _tag(tag: _JSON, operations: list[dict[str, Any]]) -> dict[str, Any]:
    own = [operation for operation in operations if operation["tag"] == tag["name"]]
    return {"name": tag["name"], "description": tag["description"], "operations": own}


def _operations(document: _JSON) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield {
                "tag": operation["tags"][0],
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": operation["summary"],
                "description": operation.get("description", ""),
                "parameters": [_parameter(parameter) for parameter in operation["parameters"]],
                "body": _media(operation.get("requestBody", {}).get("content", {})),
                "responses": [
                    {
                        "status": status,
                        "meaning": answer["description"],
                        **_first(_media(answer.get("content", {}))),
                    }
                    for status, answer in operation["responses"].items()
                ],
            }


def _parameter(parameter: _JSON) -> dict[str, str]:
    return {"name": parameter["name"], "place": parameter["in"], "meaning": parameter["description"]}


def _media(content: _JSON) -> list[dict[str, str]]:
    return [{"media": media, "schema": _name(value["schema"])} for media, value in content.items()]


def _plain(text: object) -> str:
    return str(text).replace("`", "")


def _first(media: list[dict[str, str]]) -> dict[str, str]:
    return media[0] if media else {"media": "", "schema": ""}


def _name(schema: _JSON) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _schema(name: str, schema: _JSON, schemas: _JSON) -> dict[str, Any]:
    return {
        "name": name,
        "description": _plain(schema.get("description", "")),
        "words": _words(schema),
        "fields": list(_fields(schema, "", _DEPTH)),
    }


def _fields(schema: _JSON, prefix: str, depth: int) -> Iterator[dict[str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield {
            "path": path,
            "type": _type(field),
            "required": "required" if name in required else "",
            "meaning": _meaning(field),
        }
        if depth:
            yield from _fields(_object(field), f"{path}.", depth - 1)


def _object(field: _JSON) -> _JSON:
    """The schema of an object written in place, also where null is allowed instead."""
    found = (one for one in (field, *field.get("anyOf", ())) if "properties" in one)
    return next(found, {})


def _type(field: _JSON) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(one) for one in field["anyOf"] if one.get("type") != "null"))
    if "$ref" in field:
        return _name(field)
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {})) or 'values'}"
    return _words(field) or str(field.get("format") or field.get("type") or field.get("title") or "")


def _words(schema: _JSON) -> str:
    return ", ".join(str(word) for word in schema.get("enum", ()))


def _meaning(field: _JSON) -> str:
    text = _plain(field.get("description", ""))
    example = next(iter(field.get("examples", ())), None)
    return f"{text} Such as {example}.".strip() if example is not None else text
