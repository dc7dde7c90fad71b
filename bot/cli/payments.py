"""`tuma payments`: money that waits for a decision of staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, emit_all, say, table
from bot.domain.bill import SettleResult

if TYPE_CHECKING:
    from bot.engine.engine import Engine

app = typer.Typer(help="Payments that match no bill.", no_args_is_help=True)

_COLUMNS = ("Received", "Number", "Amount", "Currency", "Status", "Payer", "Why", "Payment")


@app.command("unmatched")
def unmatched_command(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most payments to list.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List payments that wait for a decision, and why.

    With --json one object per line, and nothing if there are none.
    """
    found = runtime.with_engine(lambda engine: engine.payments.unmatched(limit))
    if as_json:
        emit_all(found)
        return
    rows = ((p.received_at, p.number, p.amount, p.currency, p.status, p.payer, p.reason, p.id) for p in found)
    table(_COLUMNS, rows, title="Unmatched payments")


@app.command("add", context_settings={"ignore_unknown_options": True})
def add_command(
    number: Annotated[str, typer.Argument(help="Control number of the bill.")],
    amount: Annotated[str, typer.Argument(help="What was paid, such as 20000.")],
    note: Annotated[str | None, typer.Option(help="Kept with the payment, such as a slip's number.")] = None,
    own_id: Annotated[str | None, typer.Option("--id", help="Your own id: the same id counts once.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Enter cash that was paid at the counter.

    It settles, stops reminders and brings a receipt like any payment.
    """
    result = runtime.with_engine(lambda engine: _add(engine, number, amount, note, own_id))
    _tell(result, as_json)


async def _add(
    engine: Engine, number: str, amount: str, note: str | None, own_id: str | None
) -> SettleResult:
    from bot.domain.cash import cash_payment

    currency = (await engine.bills.get(number)).currency
    fields = {"id": own_id, "amount": amount, "note": note}
    cash = cash_payment(fields, currency, settings=engine.settings)
    return await engine.payments.add(number, cash, by=runtime.operator())


def _tell(result: SettleResult, as_json: bool) -> None:
    if as_json:
        emit(result)
        return
    reason = f" ({result.reason})" if result.reason else ""
    say(
        f"{result.outcome}{reason}: {result.canceled} message(s) canceled, {result.receipts} receipt(s) queued."
    )


@app.command("take-back")
def take_back_command(
    payment: Annotated[str, typer.Argument(help="The entry's id, as `tuma bill show NUMBER` shows it.")],
    note: Annotated[
        str, typer.Option(help="What was wrong with it; kept with the payment and in the audit.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Take back cash that was entered wrongly; a correction goes out.

    What it paid is owed again; TUMA_ON_REVERSAL says whether reminders go on or wait for `tuma payments dismiss`. Enter
    the right amount with `tuma payments add`.
    """
    result = runtime.with_engine(lambda engine: _take_back(engine, payment, note))
    if as_json:
        emit(result)
    elif result.outcome == "repeated":
        say(f"{payment} was taken back before.")
    else:
        say(f"{payment} counts no more; {result.receipts} correction(s) queued.")


async def _take_back(engine: Engine, payment: str, note: str) -> SettleResult:
    from bot.domain.cash import take_back_note

    why = take_back_note({"note": note}, settings=engine.settings)
    return await engine.payments.take_back(payment, why, by=runtime.operator())


@app.command("match")
def match_command(
    payment: Annotated[str, typer.Argument(help="The payment's id, as `payments unmatched` shows it.")],
    number: Annotated[str, typer.Argument(help="Control number of the bill that it pays.")],
    as_json: JsonFlag = False,
) -> None:
    """Count a payment for a bill."""
    result = runtime.with_engine(lambda engine: engine.payments.match(payment, number, by=runtime.operator()))
    _tell(result, as_json)


@app.command("dismiss")
def dismiss_command(
    payment: Annotated[str, typer.Argument(help="The payment's id, as `payments unmatched` shows it.")],
    as_json: JsonFlag = False,
) -> None:
    """Take a payment off the list of unmatched ones, for it needs no bill."""
    runtime.with_engine(lambda engine: engine.payments.dismiss(payment, by=runtime.operator()))
    if as_json:
        emit({"ok": True, "payment": payment})
    else:
        say(f"{payment} is dismissed; it is kept on record and counts for no bill.")
