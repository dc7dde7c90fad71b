"""An edit of a share's contact, as staff or a producer write it: each address parsed, or named as a problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bot.domain import contact, field, shape
from bot.domain.field import Defaults, Reader
from bot.errors import Refused


class ContactForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The addresses that take the place of those on record; what is left out stays as it is."""

    phone: Annotated[str | None, Meta(description="A mobile number.", examples=["0754 123 456"])] = None
    email: Annotated[str | None, Meta(examples=["asha@example.com"])] = None
    telegram: Annotated[str | int | None, Meta(description="Chat id.", examples=["123456789"])] = None


class ContactEdit(msgspec.Struct, frozen=True, kw_only=True):
    """An edit in which every address is in its parsed form, see bot.domain.contact. At least one is set."""

    phone: str | None
    email: str | None
    telegram: str | None


def contact_edit(fields: Mapping[str, Any], settings: Defaults) -> ContactEdit:
    """Read an edit from decoded JSON. Raises Refused with every problem there is."""
    form, problems = shape.read(dict(fields), ContactForm)
    reader = Reader(settings, problems)
    region = settings.region
    edit = ContactEdit(
        phone=field.address(form.phone, "phone", lambda text: contact.phone(text, region), reader),
        email=field.address(form.email, "email", contact.email, reader),
        telegram=field.address(form.telegram, "telegram", contact.telegram, reader),
    )
    if not problems and edit == ContactEdit(phone=None, email=None, telegram=None):
        reader.fail("$", "names no address", expected="phone, email or telegram")
    if problems:
        raise Refused(*problems)
    return edit
