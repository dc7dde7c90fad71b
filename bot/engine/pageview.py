"""What the customer's page may show: one share and one bill, field maps from Redis in, amounts that add up out.

Money goes to the oldest bill of a number first, so a page whose own bill is open names what is left of older ones: with
that it says what brings everything in order, and where money that just came in has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zlib import crc32

import msgspec

from bot.domain.bill import BillKind, BillMode, BillStatus
from bot.domain.money import from_minor
from bot.engine import keys, views
from bot.engine.views import Fields, balance, carried, minor, moment, terms_of


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came in, `whole`; `amount` of it is for this bill. `channel` is the provider's word for the wallet."""

    amount: Decimal
    whole: Decimal
    currency: str
    at: datetime
    reference: str | None
    channel: str | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer's page may show: one share, one bill, nothing the messages did not say.

    `total` and `paid` are the bill's, with what was paid under numbers before this one. `amount` is to be paid now; of
    it `older` is left of other bills of the number, so `older + total - paid == amount`. `credit` is what was paid
    above all that was owed while this was the newest bill. `renewing`: the number is closed, a new one is being made.
    `wallet` is the channel of the contact's last payment, as the provider calls it. `version` changes whenever what the
    page shows of the bill does.
    """

    share: str
    number: str
    token: str
    locale: str
    name: str | None
    status: BillStatus
    renewing: bool
    kind: BillKind
    mode: BillMode
    amount: Decimal
    older: Decimal
    total: Decimal
    paid: Decimal
    credit: Decimal
    currency: str
    description: str | None
    due_at: datetime | None
    payments: list[Paid]
    wallet: str | None
    version: str
    channels: list[str]
    suppressed: list[str]
    telegram_linked: bool


def page(p: int, fields: Fields, account: Fields, payments: Sequence[Fields]) -> Page:
    """What the customer's page may show; `payments` of the number and of those before it, oldest first."""
    name, currency = views.term_of(account, fields["term"]), account["cur"]
    older = _older(account, name)
    counted = [one for one in payments if _counts(one)]
    shown = [
        _paid(one, name, account)
        for one in counted
        if _here(one, name, account) or _went_before(one, name, account)
    ]
    credit = min(sum(_credit(one, name, account) for one in counted), max(minor(account, "credit"), 0))
    made = Page(
        share=fields["id"],
        number=fields["num"],
        token=keys.token(p, fields["sid"]),
        locale=fields["loc"],
        name=views.name_of(fields, account),
        status=views.status(account),
        renewing="nxk" in account and account["st"] == "closed",
        kind=BillKind(account["kind"]),
        mode=BillMode(account[f"tm:{name}"]),
        amount=from_minor(balance(account, name) + older, currency),
        older=from_minor(older, currency),
        total=from_minor(views.total(account, name), currency),
        paid=from_minor(views.paid(account, name), currency),
        credit=from_minor(credit, currency),
        currency=currency,
        description=account.get(f"tx:{name}"),
        due_at=moment(account.get(f"td:{name}")),
        payments=shown,
        wallet=next((paid.channel for paid in reversed(shown) if paid.channel), fields.get("w")),
        version="",
        channels=fields["ch"].split(),
        suppressed=sorted(field[2:] for field in fields if field.startswith("x:")),
        telegram_linked=bool(fields.get("a:telegram")),
    )
    return msgspec.structs.replace(made, version=_version(made))


def _older(account: Fields, term: str) -> int:
    """What is left of bills that money to this number pays first, or that only this page speaks for; minor units."""
    spoken = {value for field, value in account.items() if field.startswith("sh:")}
    before = _before(account, term) if balance(account, term) > 0 else []
    return carried(account, term) + sum(balance(account, each) for each in before if each in spoken)


def _before(account: Fields, term: str) -> list[str]:
    return terms_of(account)[: terms_of(account).index(term)]


def _counts(payment: Fields) -> bool:
    given_away = payment.get("mt", payment.get("num")) != payment.get("num")
    counts = payment.get("m") == "1" and payment.get("back") != "1" and minor(payment, "am") > 0
    return counts and not given_away


def _credit(payment: Fields, term: str, account: Fields) -> int:
    """What of a payment is above every bill of the number: told on the page of the newest one that it came to."""
    terms = terms_of(account)
    paid = [each for each in terms if minor(payment, f"al:{each}") > 0]
    told = payment.get("ct") or (paid or terms)[-1]
    return minor(payment, "cr") if told == term else 0


def _here(payment: Fields, term: str, account: Fields) -> int:
    return minor(payment, f"al:{term}") + _credit(payment, term, account)


def _went_before(payment: Fields, term: str, account: Fields) -> bool:
    """Whether money that came since this bill, still open, began went to bills before it."""
    if balance(account, term) <= 0 or int(payment["at"]) < minor(account, f"tt:{term}"):
        return False
    return any(minor(payment, f"al:{each}") > 0 for each in _before(account, term))


def _paid(payment: Fields, term: str, account: Fields) -> Paid:
    currency = payment["cur"]
    return Paid(
        amount=from_minor(_here(payment, term, account), currency),
        whole=from_minor(minor(payment, "am"), currency),
        currency=currency,
        at=views.instant(payment.get("paid") or payment["at"]),
        reference=payment.get("rn") or payment.get("ref") or None,
        channel=payment.get("ch") or None,
    )


def _version(page: Page) -> str:
    shown = msgspec.structs.replace(page, channels=[], suppressed=[], telegram_linked=False)
    return f"{crc32(msgspec.json.encode(shown)):08x}"
