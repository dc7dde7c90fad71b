"""A share job as a producer writes it: the shape that the decoder enforces and OpenAPI publishes.

Every field is optional here, so that a job with problems can be read to its end; what is required, and every
limit that is not a type, is checked in `bot.domain.share`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bot.domain.bill import BillKind, BillMode
from bot.domain.message import Lane
from channels.base import ChannelName

Scalar = str | int | float | bool | None
Time = Annotated[
    str | None,
    Meta(
        description="Time with its offset (RFC 3339).",
        examples=["2026-12-01T09:00:00+03:00"],
        extra_json_schema={"format": "date-time"},
    ),
]
Duration = Annotated[str, Meta(examples=["P3D", "PT10M"], extra_json_schema={"format": "duration"})]


class _Form(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all forms share."""


class BillForm(_Form):
    """The bill: a control number that exists, or `create` with what makes one."""

    number: Annotated[
        str | None,
        Meta(
            description="Control number: 1 to 20 letters and digits.",
            examples=["55042914871931"],
            extra_json_schema={"pattern": "^[A-Za-z0-9]{1,20}$"},
        ),
    ] = None
    create: Annotated[BillKind | None, Meta(description="Instead of `number`: make one of this kind.")] = None
    kind: Annotated[BillKind | None, Meta(description="Kind of `number`; `order` when unknown.")] = None
    term: Annotated[
        str | None,
        Meta(
            description="Tells the bills of one number apart; default `1`.",
            extra_json_schema={"maxLength": 64},
        ),
    ] = None
    amount: Annotated[
        str | int | None,
        Meta(description="Positive, in major units, as text or whole number.", examples=["45000"]),
    ] = None
    currency: Annotated[str | None, Meta(description="ISO 4217; default TZS.", examples=["TZS"])] = None
    description: Annotated[
        str | None,
        Meta(description="What it is for.", examples=["Term 2 fees"], extra_json_schema={"maxLength": 500}),
    ] = None
    due_at: Time = None
    mode: Annotated[BillMode | None, Meta(description="Default `partial`.")] = None


class CustomerForm(_Form):
    """The contact; at least one of phone, email and telegram."""

    name: Annotated[str | None, Meta(examples=["Asha Juma"], extra_json_schema={"maxLength": 120})] = None
    phone: Annotated[str | None, Meta(description="A mobile number.", examples=["0754 123 456"])] = None
    email: Annotated[str | None, Meta(examples=["asha@example.com"])] = None
    telegram: Annotated[
        str | int | None,
        Meta(description="Chat id; null until the customer links the chat.", examples=["123456789"]),
    ] = None
    locale: Annotated[str | None, Meta(description="`sw` or `en`; another falls back.", examples=["sw"])] = (
        None
    )


class RouteForm(_Form):
    """Which channels, and whether all of them or the first that works."""

    mode: Annotated[
        Literal["all", "first"] | None, Meta(description="Default `first`.", examples=["first"])
    ] = None
    channels: Annotated[list[ChannelName] | None, Meta(description="Default: all with an address.")] = None
    confirm_within: Annotated[Duration | None, Meta(description="Default PT10M.", examples=["PT10M"])] = None


class RemindersForm(_Form):
    """When to remind, as durations before and after `bill.due_at`."""

    before_due: Annotated[list[Duration] | None, Meta(examples=[["P3D", "P1D"]])] = None
    after_due: Annotated[list[Duration] | None, Meta(examples=[["P1D", "P3D", "P7D"]])] = None
    max: Annotated[int | None, Meta(description="Default 5.", examples=[5])] = None


class ShareForm(_Form):
    """A share job as a producer writes it."""

    id: Annotated[
        str | None,
        Meta(
            description="The producer's own id; the same id never sends twice.",
            examples=["inv-2026-00017"],
            extra_json_schema={"minLength": 1, "maxLength": 128},
        ),
    ] = None
    bill: BillForm | None = None
    customer: CustomerForm | None = None
    route: RouteForm | None = None
    reminders: RemindersForm | None = None
    additional_contact: Annotated[
        bool | None, Meta(description="Put a second contact on a number that has one.", examples=[False])
    ] = None
    send_at: Time = None
    lane: Annotated[Lane | None, Meta(description="Default `urgent` for one, `bulk` for many.")] = None
    template: Annotated[str | None, Meta(description="Template set.", examples=["default"])] = None
    callback_url: Annotated[
        str | None, Meta(description="Where events are posted.", examples=["https://example.com/hook"])
    ] = None
    data: Annotated[dict[str, Scalar] | None, Meta(description="Values for your own templates.")] = None


# What no type can say: {path of an object: its required fields}.
_REQUIRED = {"": ["id", "bill", "customer"], "bill": ["amount"]}
_ONE_OF = {
    "bill": [{"required": ["number"]}, {"required": ["create"]}],
    "customer": [{"required": ["phone"]}, {"required": ["email"]}, {"required": ["telegram"]}],
}


def schema() -> dict[str, Any]:
    """JSON schema of a share job, complete in itself (no references)."""
    (_,), parts = msgspec.json.schema_components([ShareForm])
    job: dict[str, Any] = _inlined(parts["ShareForm"], parts)
    for path, names in _REQUIRED.items():
        _part(job, path)["required"] = names
    for path, choices in _ONE_OF.items():
        _part(job, path)["anyOf"] = choices
    return job


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(parts[node["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(item, parts) for key, item in node.items() if key != "default"}


def _part(job: dict[str, Any], path: str) -> dict[str, Any]:
    if not path:
        return job
    part: dict[str, Any] = job["properties"][path]
    # A section that is required cannot be null.
    if "anyOf" in part and "properties" not in part:
        part = next(choice for choice in part["anyOf"] if choice.get("type") == "object")
        job["properties"][path] = part
    return part
