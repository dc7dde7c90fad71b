"""`tuma bill update` and `tuma bill watch`: change a bill here and at ClickPesa, and see what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, Misused, emit, say, shown
from bot.errors import Refused

if TYPE_CHECKING:
    from bot.billpay.desk import BillDesk
    from bot.domain.bill import BillView, PaymentView
    from bot.domain.bill_change import ChangedBill
    from bot.engine.engine import Engine
    from bot.settings import Settings

Number = Annotated[str, typer.Argument(help="Control number.")]
_LOOK_S = 1.0
_NONE = "none"
_OVER = ("settled", "stopped")


def update_command(
    number: Number,
    amount: Annotated[str | None, typer.Option(help="The bill's whole amount.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    due_at: Annotated[str | None, typer.Option(help="When it is due, such as 2026-12-01, or none.")] = None,
    mode: Annotated[str | None, typer.Option(help="exact or partial.")] = None,
    status: Annotated[
        str | None, typer.Option(help="INACTIVE cancels the bill, ACTIVE takes it up again.")
    ] = None,
    term: Annotated[
        str | None, typer.Option(help="Which bill of the number. A new name begins its next term.")
    ] = None,
    before_due: Annotated[str | None, typer.Option(help='Reminders before, such as "P3D P1D".')] = None,
    after_due: Annotated[str | None, typer.Option(help='Reminders after, such as "P1D P3D".')] = None,
    quietly: Annotated[bool, typer.Option("--quietly", help="Do not tell the customer.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a bill here and at ClickPesa; what waits and what reminds follows.

    A customer number's next term: tuma bill update NUMBER --term 2026-2 --amount 60000 --due-at 2027-01-15. What is
    left of its earlier terms is carried over and named.
    """
    import asyncio

    settings = runtime.settings()
    fields = {
        "term": term,
        "amount": amount,
        "description": description,
        "due_at": _time(due_at, settings),
        "mode": mode.lower() if mode else None,
        "status": status.upper() if status else None,
        "reminders": _reminders(before_due, after_due),
        "notify": not quietly,
    }
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if due_at is not None and due_at.strip().lower() == _NONE:
        given["due_at"] = None
    changed = asyncio.run(_change(number, given, settings))
    if as_json:
        emit(changed)
    else:
        _print(changed)


def _time(text: str | None, settings: Settings) -> str | None:
    """A date or local time as files have it, in the merchant's zone."""
    from bot.domain.row import fields

    if text is None or text.strip().lower() == _NONE:
        return None
    read, _ = fields({"due_at": text}, settings.zone)
    return str(read["bill"]["due_at"])


def _reminders(before: str | None, after: str | None) -> dict[str, Any] | None:
    if before is None and after is None:
        return None
    return {"before_due": (before or "").split(), "after_due": (after or "").split()}


async def _change(number: str, fields: dict[str, Any], settings: Settings) -> ChangedBill:
    from bot.domain.bill_change import bill_change

    async with runtime.open_engine(settings) as engine, open_desk(engine) as desk:
        currency = (await engine.bills.get(number)).currency
        try:
            change = bill_change(fields, currency, settings=settings)
        except Refused as refused:
            raise Misused(*refused.problems) from refused
        return await desk.change(number, change, by=runtime.operator())


@asynccontextmanager
async def open_desk(engine: Engine) -> AsyncIterator[BillDesk]:
    """Both sides of a bill, for as long as the context lasts."""
    from bot.app import clickpesa
    from bot.billpay.desk import BillDesk

    desk = BillDesk(clickpesa(engine, engine.settings), engine.changes, engine.bills)
    try:
        yield desk
    finally:
        await desk.close()


_TOLD = {
    "updated": "ClickPesa has it too.",
    "later": "ClickPesa is told as soon as `tuma up` reaches it.",
    "unknown": "ClickPesa does not have this number, so it changed here alone.",
    "off": "",
}


def _print(changed: ChangedBill) -> None:
    bill = changed.bill
    say(f"{bill.number} is {bill.status}: {bill.currency} {bill.balance} to pay. {_TOLD[changed.clickpesa]}")
    say(f"{changed.messages} message(s) queued, {changed.canceled} canceled.")


def watch_command(
    number: Number,
    once: Annotated[bool, typer.Option("--once", help="End at the first change.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show each change of a bill as it happens, until nothing is owed or Ctrl-C."""
    import asyncio

    try:
        asyncio.run(_watch(number, once, as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _watch(number: str, once: bool, as_json: bool) -> None:
    import asyncio

    async with runtime.open_engine(runtime.settings()) as engine:
        before: BillView | None = None
        while True:
            bill = await engine.bills.get(number)
            if bill != before:
                _tell(bill, before, as_json)
                if (once and before is not None) or bill.status in _OVER:
                    return
                before = bill
            number = bill.next or number
            await asyncio.sleep(_LOOK_S)


def _tell(bill: BillView, before: BillView | None, as_json: bool) -> None:
    if as_json:
        emit(bill, now=True)
        return
    say(f"{bill.number}  {bill.status}  balance {bill.currency} {bill.balance}  paid {bill.paid}")
    known = {p.id for p in before.payments} if before is not None else set()
    for payment in bill.payments:
        if payment.id not in known:
            say(f"  {_paid(payment)}")
    if bill.next:
        say(f"  the balance has a new number: {bill.next}")


def _paid(payment: PaymentView) -> str:
    parts = (
        payment.received_at,
        payment.amount,
        payment.status,
        payment.channel,
        payment.reason,
        payment.receipt,
    )
    return "  ".join(text for part in parts if (text := shown(part)))
