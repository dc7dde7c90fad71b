"""The merchant's approved WhatsApp templates: which ContentSid says what, and how its placeholders are
filled.

Business-initiated messages must use a template that Meta approved. A TOML file (setting
`WHATSAPP_TEMPLATES`) maps set, locale and kind to a ContentSid and the ordered expressions of its
placeholders {{1}}, {{2}}, ... An optional `body`, the registered text, lets tuma check the count of
placeholders and the length; `button`, the registered address of a link button, shares their numbers.

Source: Twilio documentation, "Using variables with Content API" and errors 63013 (empty, line breaks, more
than four spaces in a value), 63021 (1,024 characters), "twilio/text" (a body must not begin or end with a
placeholder, nor have two side by side), "twilio/call-to-action" (an action of type URL takes one variable, at the end
of its address).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.domain.message import Kind
from bot.errors import TemplateError

TOTAL_ROOM = 1024
_SID = re.compile(r"HX[0-9a-fA-F]{32}")
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SIDE_BY_SIDE = re.compile(r"\}\}\W*\{\{")
_KEYS = {"content_sid", "variables", "body", "button"}


@dataclass(frozen=True, slots=True)
class Approved:
    """One approved template. `variables` are expressions over the template variables, in the order of {{1}},
    {{2}}.
    """

    name: str
    set: str
    locale: str
    kind: Kind
    content_sid: str
    variables: tuple[str, ...]
    body: str | None
    button: str | None = None

    @property
    def sources(self) -> dict[str, str]:
        """Each expression as a small template, by a name that tells where it stands."""
        return {
            f"{self.name} variable {place}": "{{ " + text + " }}"
            for place, text in enumerate(self.variables, 1)
        }

    def filled(self, values: Mapping[str, str]) -> str:
        """The body with its placeholders filled, or only the values when the body is not known."""
        if self.body is None:
            return " ".join(values.values())
        return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), self.body)

    def shown(self, values: Mapping[str, str]) -> str:
        """What is known of the message that its reader gets: the filled body, else the ContentSid and the values."""
        if self.body is not None:
            link = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), self.button or "")
            return "\n".join(part for part in (self.filled(values), link) if part)
        listed = ", ".join(f"{{{{{place}}}}}: {value}" for place, value in values.items())
        return f"{self.content_sid} {listed}".rstrip()


class Mapped:
    """The content of a mapping file, by (set, locale, kind). Empty without a file."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._approved = {} if file is None else dict(_read(file))

    def find(self, template_set: str, locale: str, kind: Kind) -> Approved | None:
        """The approved template of exactly this set, locale and kind."""
        return self._approved.get((template_set, locale, kind.value))

    def __iter__(self) -> Iterator[Approved]:
        return iter(self._approved.values())


def one_line(value: str) -> str:
    """A value as WhatsApp takes it: no line break or tab, no run of spaces."""
    return " ".join(value.split())


def problems(approved: Approved) -> Iterator[str]:
    """What Twilio or Meta would refuse of a mapping, one sentence each."""
    if not _SID.fullmatch(approved.content_sid) or set(approved.content_sid[2:]) == {"0"}:
        yield "content_sid is not that of an approved template (HX and 32 hex digits)"
    if approved.button is not None:
        yield from _button_problems(approved.button)
    if approved.body is not None:
        used = set(_PLACEHOLDER.findall(f"{approved.body} {approved.button or ''}"))
        yield from _body_problems(approved.body.strip(), used, len(approved.variables))


def _button_problems(button: str) -> Iterator[str]:
    if not button.startswith("https://"):
        yield "button is not an https:// address"
    if len(_PLACEHOLDER.findall(button)) != 1 or not button.endswith("}}"):
        yield "button needs one placeholder, at the end of its address, such as https://.../pay/{{8}}"


def _body_problems(body: str, used: set[str], expected: int) -> Iterator[str]:
    wanted = {str(place) for place in range(1, expected + 1)}
    if used != wanted:
        yield f"body uses placeholders {_listed(used)}, variables fill {_listed(wanted)}"
    if body.startswith("{{") or body.endswith("}}"):
        yield "body begins or ends with a placeholder"
    if _SIDE_BY_SIDE.search(body):
        yield "body has two placeholders side by side"


def _listed(places: set[str]) -> str:
    return ", ".join(sorted(places, key=lambda place: (len(place), place))) or "none"


def _read(file: Path) -> Iterator[tuple[tuple[str, str, str], Approved]]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TemplateError(f"WHATSAPP_TEMPLATES: {file.absolute()} cannot be read") from error
    except ValueError as error:
        raise TemplateError(f"{file.name}: not valid TOML: {error}") from error
    for template_set, locales in content.items():
        for locale, kinds in _table(locales, f"{file.name} [{template_set}]").items():
            for kind, entry in _table(kinds, f"{file.name} [{template_set}.{locale}]").items():
                place = (template_set, locale, kind)
                yield place, _approved(file.name, place, entry)


def _approved(file: str, place: tuple[str, str, str], content: Any) -> Approved:
    name = f"{file} [{'.'.join(place)}]"
    template_set, locale, kind = place
    entry = _table(content, name)
    if kind not in set(Kind):
        raise TemplateError(f"{name}: no such kind; there are {', '.join(Kind)}")
    if unknown := set(entry) - _KEYS:
        raise TemplateError(f"{name}: unknown key {', '.join(sorted(unknown))}")
    sid, variables = entry.get("content_sid"), entry.get("variables")
    if not isinstance(sid, str) or not isinstance(variables, list):
        raise TemplateError(f"{name}: needs content_sid (text) and variables (list of expressions)")
    filled = tuple(map(str, variables))
    return Approved(
        name, template_set, locale, Kind(kind), sid, filled, entry.get("body"), entry.get("button")
    )


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TemplateError(f"{name}: expected a table [set.locale.kind]")
    return value
