"""A replay as a person reads it, or as JSON: one object per row, then one with `summary` true."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from bot.cli.columns import Row as FileRow
from bot.cli.files import open_source
from bot.cli.intake import Refusal, job_of, refusal
from bot.cli.output import emit, facts, note, say, shown
from bot.cli.progress import show_refusal
from bot.errors import Refused
from bot.replay import Options, Report, Row, replay
from bot.replay.report import MessageReport, RowReport, Summary
from bot.replay.stage import STAND_IN
from bot.settings import Settings


def replay_file(
    path: Path | None,
    sheet: str | None,
    first: int | None,
    settings: Settings,
    options: Options,
    *,
    as_json: bool,
) -> bool:
    """Replay a file and show what came of it; whether every row was good and every promise kept."""
    with open_source(path, sheet) as source:
        for line in source.notes:
            note(line)
        rows = list(islice(source.rows(), first))
    good, refused = _judged(rows, settings)
    if settings.public_url is None:
        note(f"PUBLIC_URL is not set: links in these texts begin with {STAND_IN}; yours may be longer.")
    note(f"Profile {options.profile.name}, seed {options.seed}: {len(good)} row(s)")
    report = asyncio.run(replay(good, settings, options, note))
    by_number = {row.number: row for row in rows}
    refused |= {
        row.row: refusal(by_number[row.row], Refused(*row.errors)) for row in report.rows if not row.ok
    }
    _show(report, refused, by_number, as_json=as_json)
    return report.summary.clean and not refused


def _judged(rows: list[FileRow], settings: Settings) -> tuple[list[Row], dict[int, Refusal]]:
    good, refused = [], {}
    for row in rows:
        try:
            good.append(Row(row.number, job_of(row, settings)))
        except Refused as error:
            refused[row.number] = refusal(row, error)
    return good, refused


def _show(report: Report, refused: dict[int, Refusal], order: dict[int, FileRow], *, as_json: bool) -> None:
    played = {row.row: row for row in report.rows}
    for nth, number in enumerate(order, start=1):
        if number in refused:
            _show_refused(refused[number], nth, as_json)
        elif as_json:
            emit(played[number])
        else:
            _show_row(played[number])
    if as_json:
        emit(_counted(report.summary, len(refused)))
    else:
        _show_summary(report.summary, len(refused))


def _counted(summary: Summary, refused: int) -> dict[str, Any]:
    rows = summary.accepted + refused
    fields: dict[str, Any] = msgspec.to_builtins(summary)
    return fields | {"rows": rows, "refused": refused, "ok": summary.clean and not refused}


def _show_refused(refused: Refusal, nth: int, as_json: bool) -> None:
    if as_json:
        emit(refused)
    else:
        show_refusal(refused, nth)


def _show_row(row: RowReport) -> None:
    paid = f", paid {row.paid}" if row.paid else ""
    say(f"Row {row.row}, {row.number}, {row.phone or 'no phone'}: cost {row.cost}{paid}")
    for skipped in row.skipped:
        say(f"  {skipped.channel} skipped: {skipped.reason}")
    told: dict[str, str] = {}
    for message in row.messages:
        _show_message(message)
        _show_text(message, told)


def _show_text(message: MessageReport, told: dict[str, str]) -> None:
    """The text as the customer read it, or which message said the same before."""
    lines = [*([message.subject] if message.subject else []), *(message.text or "").splitlines()]
    this = f"{message.channel} of {shown(message.at) or 'no time'}"
    before = told.setdefault("\n".join(lines), this)
    for line in lines if before == this else [f"(the same text as the {before})"]:
        say(f"    {line}")


def _show_message(message: MessageReport) -> None:
    words = [message.outcome, message.delivery if message.delivery != message.outcome else None]
    if message.segments:
        words.append(f"{message.segments} segment(s)")
    if message.cost != "0":
        words.append(f"cost {message.cost}")
    if message.accepted != 1:
        words.append(f"taken {message.accepted} times" if message.accepted else "never taken")
    if message.possible_duplicate:
        words.append("possible duplicate")
    at = f"{shown(message.at)}  " if message.at else ""
    say(f"  {at}{message.channel} {message.kind}: {', '.join(filter(None, words))}{_why(message)}")


def _why(message: MessageReport) -> str:
    why = message.reason or message.error
    if why is None:
        return ""
    arrived = message.outcome == "sent" and message.delivery not in ("undelivered", "failed")
    return f" (before that: {why})" if arrived else f" ({why})"


def _show_summary(summary: Summary, refused: int) -> None:
    say("")
    facts(
        {
            "Profile": f"{summary.profile}, seed {summary.seed}",
            "Rows": f"{summary.accepted} played, {refused} refused",
            "Messages": _listed(summary.messages),
            "Outcomes": _listed(summary.outcomes),
            "Cost": f"{summary.cost} for {summary.segments} SMS segment(s); {summary.taken} message(s) taken in all",
            "Payments": f"{summary.payments}, of which tuma was not told of {summary.payments_untold}",
            "Faults met": "; ".join(f"{name}: {_listed(kinds)}" for name, kinds in summary.faults.items()),
            "Channel pauses": _listed(summary.pauses),
            "Lost": str(summary.lost),
            "Twice, unflagged": str(summary.twice),
            "Possible duplicates": str(summary.possible_duplicates),
            "Taken, unknown to tuma": str(summary.unsure),
            "After payment": str(summary.after_payment),
            "Receipts wrong": str(summary.receipts_wrong),
            "Still waiting": str(summary.waiting),
            "Ledger": summary.ledger,
            "Did not come to rest": summary.stuck,
            "Time": f"{summary.days} days in {summary.seconds} s",
        }
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
