"""One day's money, here and at ClickPesa, so that both add up or the difference has a name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

# counted: on bills or credit; waiting: staff must decide; put aside: staff did, for no bill; returned: went back.
State = Literal["counted", "waiting", "put aside", "returned", "not here"]


class DayPayment(msgspec.Struct, frozen=True, kw_only=True):
    """One payment of the day. `amount` is what was received; `on_bills` and `credit` what became of it here.

    `number` is what the payer named, `counts_for` the number whose bill it pays. `cash`: staff entered it. `foreign`:
    what was named is no control number of ours (an offline reference, a deposit). `unlisted`: it is foreign, and
    ClickPesa's list, which is the application's, does not have it.
    """

    id: str
    paid_at: datetime
    number: str
    counts_for: str
    amount: Decimal
    currency: str
    status: str
    state: State
    on_bills: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    receipt: str | None = None
    reference: str | None = None
    channel: str | None = None
    payer: str | None = None
    note: str | None = None
    cash: bool = False
    foreign: bool = False
    unlisted: bool = False


class TheirPayment(msgspec.Struct, frozen=True, kw_only=True):
    """The same payment as ClickPesa lists it; `known` is our id of it, None if it is not on record here."""

    known: str | None
    id: str
    number: str
    amount: Decimal
    currency: str
    status: str
    paid_at: datetime


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two sides disagree about one payment; `money` is ours minus theirs.

    `payment` is our id of it, ClickPesa's if it is not on record here. Two if each side names another currency.
    """

    payment: str
    number: str
    what: str
    money: Decimal
    currency: str


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A day in one currency.

    received = on_bills + credit + waiting + put_aside + returned, and received = cash + by_clickpesa.
    `clickpesa_says` is None if ClickPesa was not asked; else by_clickpesa - unlisted - clickpesa_says = differing, what
    the differences come to.
    """

    currency: str
    payments: int
    bills: int
    receipts: int
    received: Decimal
    cash: Decimal
    by_clickpesa: Decimal
    on_bills: Decimal
    credit: Decimal
    waiting: Decimal
    put_aside: Decimal
    returned: Decimal
    unlisted: Decimal
    clickpesa_says: Decimal | None
    differing: Decimal
    adds_up: bool


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A day's reconciliation. `asked`: ClickPesa's list was read, so that no difference means that there is none."""

    date: str
    asked: bool
    totals: list[Totals]
    differences: list[Difference]
    payments: list[DayPayment]


_BACK = ("REFUNDED", "REVERSED")


def reconcile(date: str, ours: Sequence[DayPayment], theirs: Sequence[TheirPayment] | None) -> Day:
    """Compare one day's payments. `theirs` None: ClickPesa was not asked."""
    if theirs is not None:
        listed = {each.known for each in theirs}
        ours = [
            msgspec.structs.replace(each, unlisted=each.foreign and each.id not in listed) for each in ours
        ]
    differences = [] if theirs is None else [*_missing_there(ours, theirs), *_told_otherwise(ours, theirs)]
    found = {each.currency for each in ours} | {each.currency for each in theirs or ()}
    currencies = sorted(found) or ["TZS"]
    return Day(
        date=date,
        asked=theirs is not None,
        totals=[_totals(currency, ours, theirs, differences) for currency in currencies],
        differences=differences,
        payments=sorted(ours, key=lambda each: each.paid_at),
    )


def _missing_there(ours: Sequence[DayPayment], theirs: Sequence[TheirPayment]) -> list[Difference]:
    known = {each.known for each in theirs}
    return [
        Difference(
            payment=each.id,
            number=each.number,
            what="ClickPesa's list of the day does not have it",
            money=each.amount,
            currency=each.currency,
        )
        for each in ours
        if not each.cash and not each.unlisted and each.id not in known
    ]


def _told_otherwise(ours: Sequence[DayPayment], theirs: Sequence[TheirPayment]) -> list[Difference]:
    found, by_id = [], {each.id: each for each in ours}
    for each in theirs:
        mine = by_id.get(each.known or "")
        money = (mine.amount if mine and mine.currency == each.currency else Decimal(0)) - each.amount
        what = _difference(mine, each)
        if what is None:
            continue
        payment = each.known or each.id
        found.append(
            Difference(payment=payment, number=each.number, what=what, money=money, currency=each.currency)
        )
        if mine is not None and mine.currency != each.currency:  # each currency adds up by itself
            found.append(
                Difference(
                    payment=payment, number=mine.number, what=what, money=mine.amount, currency=mine.currency
                )
            )
    return found


def _difference(mine: DayPayment | None, theirs: TheirPayment) -> str | None:
    if mine is None:
        return "it is on record here under another day" if theirs.known else "it is not on record here"
    if (mine.amount, mine.currency) != (theirs.amount, theirs.currency):
        return f"here {mine.currency} {mine.amount}, at ClickPesa {theirs.currency} {theirs.amount}"
    if (theirs.status in _BACK) != (mine.status in _BACK):
        return f"here {mine.status}, at ClickPesa {theirs.status}"
    return None


def _totals(
    currency: str,
    ours: Sequence[DayPayment],
    theirs: Sequence[TheirPayment] | None,
    differences: Sequence[Difference],
) -> Totals:
    mine = [each for each in ours if each.currency == currency]

    def total(*states: State) -> Decimal:
        return sum((each.amount for each in mine if each.state in states), Decimal(0))

    received = sum((each.amount for each in mine), Decimal(0))
    cash = sum((each.amount for each in mine if each.cash), Decimal(0))
    unlisted = sum((each.amount for each in mine if each.unlisted), Decimal(0))
    counted = [each for each in mine if each.state == "counted"]
    on_bills = sum((each.on_bills for each in counted), Decimal(0))
    credit = sum((each.credit for each in counted), Decimal(0))
    says = None if theirs is None else sum((t.amount for t in theirs if t.currency == currency), Decimal(0))
    differing = sum((each.money for each in differences if each.currency == currency), Decimal(0))
    rest = total("waiting", "put aside", "returned")
    agreed = says is None or received - cash - unlisted - says == differing
    return Totals(
        currency=currency,
        payments=len(mine),
        bills=len({each.counts_for for each in counted}),
        receipts=sum(1 for each in counted if each.receipt),
        received=received,
        cash=cash,
        by_clickpesa=received - cash,
        on_bills=on_bills,
        credit=credit,
        waiting=total("waiting"),
        put_aside=total("put aside"),
        returned=total("returned"),
        unlisted=unlisted,
        clickpesa_says=says,
        differing=differing,
        adds_up=received == on_bills + credit + rest and agreed,
    )
