"""How a control number is paid, wallet by wallet: steps that a person reads, from
`templates/payment_methods.toml`.

Every method carries its source and the day that source was read. A method without a company number that is
known (M-Pesa's is the merchant's own) is left out. Nothing here is logic: menus change without notice.

Source: ClickPesa documentation, "Making payment".
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from bot.errors import TemplateError
from bot.render.library import templates_dir

FILE = "payment_methods.toml"
WAYS = ("ussd", "app", "web", "branch")
Way = Literal["ussd", "app", "web", "branch"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to pay. `steps` is by way and locale; `last_dialled` is None until somebody dialled it."""

    id: str
    name: str
    short_name: str
    also_known_as: tuple[str, ...]
    kind: Literal["wallet", "bank"]
    company_number: str | None
    ussd_code: str
    steps: Mapping[str, Mapping[str, tuple[str, ...]]]
    brief: Mapping[str, str]
    source: str
    date_read: date
    last_dialled: date | None

    def fill(self, locale: str, way: Way, *, number: str, amount: str) -> list[str]:
        """The steps of one way with number and amount in place; English where the locale has none."""
        return [self._in_place(step, number, amount) for step in _of(self.steps.get(way, {}), locale, ())]

    def line(self, locale: str, *, number: str, amount: str) -> str:
        """The USSD path on one line, such as "*150*01# > 4 Pay bills > ..."."""
        return self._in_place(_of(self.brief, locale, ""), number, amount)

    def _in_place(self, text: str, number: str, amount: str) -> str:
        if "{" not in text and "}" not in text:
            return text  # as most steps
        return text.format(number=number, amount=amount, company=self.company_number or "")


def methods(mpesa_business_number: str | None, file: Path | None = None) -> list[Method]:
    """Every method that can be shown, in the file's order. M-Pesa needs the merchant's business number.

    `file`: another one than the shipped. Raises TemplateError when it does not hold what it should.
    """
    file = file or templates_dir() / FILE
    known = {"MPESA_BUSINESS_NUMBER": mpesa_business_number}
    try:
        return [_method(entry, known) for entry in _load(file) if _can_be_shown(entry, known)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplateError(f"{file.name}: cannot be used: {error!r}") from error


def companies(shown: Iterable[Method]) -> list[str]:
    """Company numbers in brief, the shared one first: ["Mixx/HaloPesa 889999", "M-Pesa 123456", "Airtel
    47"].
    """
    names: dict[str, list[str]] = {}
    for method in shown:
        if method.company_number is not None:
            names.setdefault(method.company_number, []).append(method.short_name)
    ranked = sorted(names.items(), key=lambda item: -len(item[1]))
    return [f"{'/'.join(shared)} {company}" for company, shared in ranked]


@cache
def _load(file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8"))["method"]
    return entries


def _can_be_shown(entry: dict[str, Any], known: Mapping[str, str | None]) -> bool:
    setting = entry.get("company_number_setting")
    return setting is None or bool(known.get(setting))


def _method(entry: dict[str, Any], known: Mapping[str, str | None]) -> Method:
    setting = entry.get("company_number_setting")
    return Method(
        id=entry["id"],
        name=entry["name"],
        short_name=entry["short_name"],
        also_known_as=tuple(entry["also_known_as"]),
        kind=entry["kind"],
        company_number=known.get(setting) if setting else entry.get("company_number"),
        ussd_code=entry["ussd_code"],
        steps={way: {k: tuple(v) for k, v in entry[way].items()} for way in WAYS if way in entry},
        brief=entry["brief"],
        source=entry["source"],
        date_read=entry["date_read"],
        last_dialled=entry.get("last_dialled"),
    )


def _of(texts: Mapping[str, T], locale: str, absent: T) -> T:
    return texts.get(locale.replace("-", "_").partition("_")[0], texts.get("en", absent))
