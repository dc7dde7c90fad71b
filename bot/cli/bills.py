"""`tuma bill`, `tuma status` and `tuma stop`: what became of a bill, and how to end it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bot.cli import runtime
from bot.cli.bill_change import open_desk, update_command, watch_command
from bot.cli.bill_create import create_command
from bot.cli.output import JsonFlag, emit, facts, say, table
from bot.domain.bill import BillView, PaymentView, ShareView, TermView
from bot.errors import NotFound

if TYPE_CHECKING:
    from bot.billpay.desk import BothViews
    from bot.engine.engine import Engine

app = typer.Typer(help="Bills, by their control numbers.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(help="Control number.")]
_MESSAGE_COLUMNS = (
    "Message",
    "Kind",
    "Channel",
    "To",
    "State",
    "Outcome",
    "Delivery",
    "Why",
    "Created",
    "Sent",
)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A bill with its shares and their messages; no bill while the number of a share is being made."""

    bill: BillView | None
    shares: list[ShareView]


app.command("create")(create_command)
app.command("update")(update_command)
app.command("watch")(watch_command)


@app.command("show")
def show_command(number: Number, as_json: JsonFlag = False) -> None:
    """Show a bill here and at ClickPesa: what is owed, paid, who was told."""
    found = runtime.with_engine(lambda engine: _both(engine, number))
    if as_json:
        ours = msgspec.to_builtins(found.bill) if found.bill else {}
        emit({**ours, "number": number, "clickpesa": found.clickpesa, "clickpesa_says": found.clickpesa_says})
        return
    if found.bill is not None:
        _print_bill(found.bill)
    _print_theirs(found)


async def _both(engine: Engine, number: str) -> BothViews:
    async with open_desk(engine) as desk:
        return await desk.both(number)


def _print_theirs(found: BothViews) -> None:
    theirs, ours = found.clickpesa, found.bill
    if theirs is None:
        say(f"At ClickPesa: {found.clickpesa_says}")
        return
    newest = ours.terms[-1] if ours is not None and ours.terms else None
    rows = (
        ("to pay", ours.balance if ours else None, theirs.amount),
        ("most in all", None, theirs.cap),
        ("may still come", None, theirs.remaining),
        ("mode", newest.mode if newest else None, theirs.mode),
        ("description", newest.description if newest else None, theirs.description),
        ("customer", ours.customer if ours else None, theirs.customer_name),
        ("status", ours.status if ours else None, theirs.status),
    )
    table(("", "Here", "At ClickPesa"), rows, title=f"{theirs.number} on both sides")


@app.command("snippet")
def snippet_command(
    number: Number,
    share: Annotated[
        str | None, typer.Option(help="Id of the share, where a number has several contacts.")
    ] = None,
    lang: Annotated[str | None, typer.Option(help="sw or en; else the customer's language.")] = None,
    as_frame: Annotated[
        bool, typer.Option("--frame", help="The frame, for a site of TUMA_EMBED_ORIGINS.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print the HTML that puts a bill into an invoice or a site of another program."""
    from bot.cli import snippets

    chosen = runtime.settings()
    made = runtime.with_engine(lambda engine: snippets.of_number(engine, chosen, number, share, lang), chosen)
    if as_json:
        emit(made)
    else:
        say(made.frame if as_frame else made.html)


def status_command(
    what: Annotated[str, typer.Argument(metavar="NUMBER|SHARE_ID", help="Control number, or id of a share.")],
    as_json: JsonFlag = False,
) -> None:
    """Show a bill, its payments, and every message about it."""
    found = runtime.with_engine(lambda engine: _status(engine, what))
    if as_json:
        emit(found)
        return
    if found.bill is not None:
        _print_bill(found.bill)
    for share in found.shares:
        _print_share(share)


def stop_command(number: Number, as_json: JsonFlag = False) -> None:
    """Send nothing more about a bill: cancel what waits, end its reminders."""
    canceled = runtime.with_engine(lambda engine: engine.bills.stop(number, by=runtime.operator()))
    if as_json:
        emit({"ok": True, "number": number, "canceled": canceled})
    else:
        say(f"{number} is stopped; {canceled} waiting message(s) canceled.")


async def _status(engine: Engine, what: str) -> Status:
    try:
        bill = await engine.bills.get(what)
    except NotFound:
        share = await _share(engine, what)
        if not share.number:
            return Status(bill=None, shares=[share])
        return Status(bill=await engine.bills.get(share.number), shares=[share])
    return Status(bill=bill, shares=await shares_of(engine, bill))


async def shares_of(engine: Engine, bill: BillView) -> list[ShareView]:
    """The shares of a bill, without those whose retention ended meanwhile."""
    found = []
    for share in bill.shares:
        with suppress(NotFound):
            found.append(await engine.shares.get(share))
    return found


async def _share(engine: Engine, share_id: str) -> ShareView:
    try:
        return await engine.shares.get(share_id)
    except NotFound as error:
        raise NotFound(f"no bill and no share is called {share_id}") from error


def _print_bill(bill: BillView) -> None:
    facts(
        {
            "Number": f"{bill.number} ({bill.kind})",
            "Status": bill.status,
            "Customer": bill.customer,
            "Contacts": bill.contacts,
            "Balance": f"{bill.currency} {bill.balance}",
            "Paid": f"{bill.currency} {bill.paid}",
            "Credit": None if bill.credit in ("", "0") else f"{bill.currency} {bill.credit}",
            "Next reminder": bill.next_reminder_at,
            "Shares": bill.shares,
            "Took over from": bill.previous,
            "Balance moved to": bill.next,
        }
    )
    terms = (
        (t.term, t.amount, _paid(t), t.balance, t.due_at, t.mode, t.description, _cost(t)) for t in bill.terms
    )
    table(("Term", "Amount", "Paid", "Balance", "Due", "Mode", "Description", "Sending cost"), terms)
    if bill.payments:
        columns = ("Received", "Amount", "Status", "Channel", "Payer", "Note", "Receipt", "Payment")
        table(columns, map(_payment_cells, bill.payments), title="Payments")


def _payment_cells(p: PaymentView) -> tuple[object, ...]:
    note = p.note or p.reason
    return (p.received_at, p.amount, p.status, p.channel, p.payer, note, p.receipt, p.id)


def _paid(term: TermView) -> str:
    return term.paid if term.from_credit == "0" else f"{term.paid}, {term.from_credit} of it by credit"


def _cost(term: TermView) -> str | None:
    """What the messages of a bill have cost, and whether that is all they may."""
    return f"{term.cost or '0'}, cap reached" if term.cost_cap_reached_at else term.cost


def _print_share(share: ShareView) -> None:
    skipped = ", ".join(f"{one.channel} ({one.reason})" for one in share.skipped)
    why = f" ({share.reason})" if share.reason else ""
    say(
        f"Share {share.id}: {share.state}{why}, over {', '.join(share.channels)}"
        + (f"; skipped: {skipped}" * bool(skipped))
    )
    rows = (
        (
            m.id,
            m.kind,
            m.channel,
            m.to,
            m.asking or m.state,
            m.outcome,
            m.delivery,
            m.error or m.reason,
            m.created_at,
            m.sent_at,
        )
        for m in share.messages
    )
    table(_MESSAGE_COLUMNS, rows)
