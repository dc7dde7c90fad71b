"""`tuma reconcile DATE`: one day's payments against ClickPesa's list, as a summary that adds up and as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import FAILED, JsonFlag, emit, facts, note, say, shown, table
from bot.cli.rejects import guarded

if TYPE_CHECKING:
    from bot.billpay.client import ClickPesa
    from bot.domain.bill import PaymentEvent
    from bot.domain.reconciliation import Day, DayPayment, Totals
    from bot.engine.engine import Engine
    from bot.settings import Settings

_PAGE = 100
_COLUMNS = (
    *("paid_at", "number", "counts_for", "receipt", "reference", "channel", "payer", "amount", "currency"),
    *("status", "state", "on_bills", "credit", "note", "unlisted", "difference"),
)


def reconcile_command(
    day: Annotated[
        str | None,
        typer.Argument(metavar="DATE", help="Day as 2026-11-24, in TUMA_TIMEZONE. Default: yesterday."),
    ] = None,
    csv_to: Annotated[
        str | None, typer.Option("--csv", metavar="FILE|-", help="Write every payment of the day as CSV.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a day's payments with ClickPesa's list.

    Ends with 1 if there is a difference, so that it can be run every morning. Payments whose webhook was lost are found
    by `tuma up` by itself; what is still missing after an hour is worth a question to ClickPesa.
    """
    import asyncio

    settings = runtime.settings()
    found = asyncio.run(_reconcile(_date(day, settings), settings))
    if csv_to is not None:
        with _output(csv_to) as out:
            write_csv(out, found)
    if as_json:
        emit(found)
    else:
        _print(found, to_stderr=csv_to == "-")
    if found.differences or not all(each.adds_up for each in found.totals):
        raise typer.Exit(FAILED)


def _date(text: str | None, settings: Settings) -> date:
    if text is None:
        return datetime.now(settings.zone).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("expected a day such as 2026-11-24", param_hint="DATE") from error


async def _reconcile(day: date, settings: Settings) -> Day:
    from bot.app import clickpesa

    async with runtime.open_engine(settings) as engine:
        client = clickpesa(engine, settings)
        try:
            return await of_day(engine, client, day)
        finally:
            if client is not None:
                await client.close()


async def of_day(engine: Engine, client: ClickPesa | None, day: date) -> Day:
    """One day's reconciliation; without a client ClickPesa is not asked. Raises ClickPesaError."""
    from bot.domain.reconciliation import reconcile

    theirs = None
    if client is not None:
        theirs = await engine.books.recognise(await _listed(engine, client, day), day)
    return reconcile(day.isoformat(), await engine.books.day(day), theirs)


async def _listed(engine: Engine, client: ClickPesa, day: date) -> list[PaymentEvent]:
    """ClickPesa's list of the days (UTC there) that the merchant's day touches."""
    begins, ends = engine.books.bounds(day)
    # Whether ClickPesa counts days in UTC or in East Africa is not documented: ask for one more on either side.
    first = (begins - timedelta(days=1)).date()
    last = (ends + timedelta(days=1)).date()
    events: dict[str, PaymentEvent] = {}
    skip = 0
    while True:
        page = await client.payments_page(start=first, end=last, skip=skip, limit=_PAGE)
        events |= {event.ids[0]: event for event in page.events if event is not None}
        skip += len(page.events)
        if len(page.events) < _PAGE and (page.total is None or skip >= page.total or not page.events):
            return list(events.values())


@contextmanager
def _output(where: str) -> Iterator[IO[str]]:
    if where == "-":
        yield sys.stdout
        return
    # The byte order mark makes spreadsheets read it as UTF-8.
    with Path(where).open("w", encoding="utf-8-sig", newline="") as out:
        yield out


def write_csv(out: IO[str], day: Day) -> None:
    """Every payment of the day and every difference, one a line."""
    lines = csv.writer(out)
    lines.writerow(_COLUMNS)
    told = {each.payment: each.what for each in day.differences}
    for payment in day.payments:
        lines.writerow([guarded(cell) for cell in (*_cells(payment), told.pop(payment.id, ""))])
    for each in day.differences:
        if each.payment in told:
            row = ["", each.number, "", "", each.payment, "", "", str(-each.money), each.currency]
            lines.writerow([guarded(cell) for cell in (*row, "", "not here", "0", "0", "", "", each.what)])


def _cells(payment: DayPayment) -> list[str]:
    values = (
        *(payment.paid_at, payment.number, payment.counts_for, payment.receipt, payment.reference),
        *(payment.channel, payment.payer, payment.amount, payment.currency, payment.status, payment.state),
        *(payment.on_bills, payment.credit, payment.note, "yes" if payment.unlisted else ""),
    )
    return [shown(value) for value in values]


def _print(day: Day, *, to_stderr: bool) -> None:
    if to_stderr:
        for each in day.totals:
            found = sum(1 for one in day.differences if one.currency == each.currency)
            note(f"{day.date}: {each.currency} {each.received} received, {found} difference(s).")
        return
    for each in day.totals:
        say(f"{day.date}, {each.currency}")
        facts(_summary(each))
    if outside := [each for each in day.payments if each.unlisted]:
        listed = ((p.number, p.counts_for, p.id, f"{p.currency} {p.amount}", p.state) for p in outside)
        table(
            ("Number", "Counts for", "Payment", "Amount", "State"), listed, title="Outside ClickPesa's list"
        )
        say("Compare these with ClickPesa's dashboard.")
    if not day.asked:
        say("ClickPesa was not asked: tuma has no credentials.")
    elif not day.differences:
        say("ClickPesa says the same of the rest." if outside else "ClickPesa says the same.")
    else:
        rows = (
            (each.number, each.payment, f"{each.currency} {each.money}", each.what)
            for each in day.differences
        )
        table(("Number", "Payment", "Here minus there", "What"), rows, title="Differences")


def _summary(each: Totals) -> dict[str, object]:
    return {
        "Received": f"{each.received} in {each.payments} payment(s)",
        "  by ClickPesa": each.by_clickpesa,
        "  of it outside its list": each.unlisted or None,
        "  in cash": each.cash,
        "On bills": f"{each.on_bills} on {each.bills} number(s), {each.receipts} receipt(s)",
        "Credit": each.credit,
        "Waits for staff": each.waiting,
        "Put aside": each.put_aside,
        "Returned": each.returned,
        "ClickPesa says": each.clickpesa_says,
        "Adds up": each.adds_up,
    }
