"""The dry run of a file: every row judged and rendered, nothing sent, no Redis asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from bot.cli.columns import Row
from bot.cli.files import Source
from bot.cli.intake import Refusal, job_of, refusal
from bot.cli.output import emit, note, say
from bot.cli.preview import Preview, Previewer, PreviewMessage
from bot.cli.progress import progress, show_refusal
from bot.errors import Refused
from bot.settings import Settings

_SHOWN_TEXTS = 3


def rehearse(source: Source, settings: Settings, as_json: bool) -> bool:
    """Show what each row would send, or what is wrong with it; whether all rows are good."""
    previewer = open_previewer(settings)
    if previewer.nothing_on:
        note("No channel is set up here: this shows what would be sent once they are. See `tuma doctor`.")
    tally: Counter[str] = Counter()
    with progress(source.total) as advance:
        for row in source.rows():
            _report(row, _rehearsed(row, previewer, settings), tally, as_json)
            advance(1)
    _sum_up(tally, as_json)
    return not tally["refused"]


def open_previewer(settings: Settings) -> Previewer:
    """What renders previews of this merchant's messages. Raises TemplateError."""
    from bot.app import renderer

    return Previewer(settings, renderer(settings))


def as_fields(row: int, preview: Preview) -> dict[str, Any]:
    """A good row as JSON says it."""
    return {"row": row, "ok": True, "errors": [], **msgspec.to_builtins(preview)}


def print_texts(preview: Preview) -> None:
    """Show the messages of one share as they would be read."""
    for message in preview.messages:
        print_message(message)


def print_message(message: PreviewMessage) -> None:
    """Show one message as it would be read."""
    size = f" ({message.encoding}, {message.segments} SMS)" if message.segments else ""
    say(f"  {message.channel}{size}:")
    for line in [*([message.subject] if message.subject else []), *message.text.splitlines()]:
        say(f"    {line}")


def _rehearsed(row: Row, previewer: Previewer, settings: Settings) -> Preview | Refusal:
    try:
        return previewer.preview(job_of(row, settings))
    except Refused as refused:
        return refusal(row, refused)


def _report(row: Row, found: Preview | Refusal, tally: Counter[str], as_json: bool) -> None:
    if isinstance(found, Refusal):
        tally["refused"] += 1
        if as_json:
            emit(found)
        else:
            show_refusal(found, tally["refused"])
        return
    _count(found, tally)
    if as_json:
        emit(as_fields(row.number, found))
    elif tally["good"] <= _SHOWN_TEXTS:
        say(f"Row {row.number}, to {found.phone or 'the customer'}:")
        print_texts(found)


def _count(found: Preview, tally: Counter[str]) -> None:
    tally["good"] += 1
    for message in found.messages:
        tally[f"on {message.channel}"] += 1
        tally["segments"] += message.segments or 0


def _sum_up(tally: Counter[str], as_json: bool) -> None:
    over = ", ".join(f"{count} {name[3:]}" for name, count in sorted(tally.items()) if name.startswith("on "))
    line = f"{tally['good']} row(s) would be sent, {tally['refused']} refused. Messages at most: {over or 'none'}"
    line += f"; {tally['segments']} SMS segment(s)." if tally["segments"] else "."
    if as_json:
        note(line)
    else:
        say(line)
