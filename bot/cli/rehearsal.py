"""The dry run of a file: every row judged and rendered, nothing sent, no Redis asked."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import msgspec

from bot.cli.columns import Row
from bot.cli.files import Source
from bot.cli.intake import Refusal, job_of, refusal
from bot.cli.output import emit, note, say
from bot.cli.preview import Preview, Previewer, PreviewMessage
from bot.cli.progress import progress, show_refusal
from bot.errors import Problem, Refused
from bot.settings import Settings

_SHOWN_TEXTS = 3


def rehearse(source: Source, settings: Settings, as_json: bool) -> bool:
    """Show what each row would send, or what is wrong with it; whether all rows are good."""
    previewer = open_previewer(settings)
    if previewer.nothing_on:
        note("No channel is set up here: this shows what would be sent once they are. See `tuma doctor`.")
    tally: Counter[str] = Counter()
    rehearsal = _Rehearsal(previewer, settings)
    with progress(source.total) as advance:
        for row in source.rows():
            _report(row, rehearsal.of(row), tally, as_json)
            advance(1)
    _sum_up(tally, as_json)
    return not tally["refused"]


def open_previewer(settings: Settings) -> Previewer:
    """What renders previews of this merchant's messages. Raises TemplateError."""
    from bot.app import renderer

    return Previewer(settings, renderer(settings))


def as_fields(row: int, preview: Preview) -> dict[str, Any]:
    """A good row as JSON says it."""
    return {"row": row, "ok": True, "errors": [], "repeats": None, **msgspec.to_builtins(preview)}


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


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose id and content stood in an earlier row: it is accepted and sends nothing."""

    row: int
    ok: Literal[True] = True
    errors: tuple[Problem, ...] = ()
    repeats: int
    messages: tuple[PreviewMessage, ...] = ()


class _Rehearsal:
    """Judges rows, and remembers of each id where it stood and what it said."""

    def __init__(self, previewer: Previewer, settings: Settings) -> None:
        self._previewer, self._settings = previewer, settings
        self._seen: dict[str, tuple[int, str]] = {}

    def of(self, row: Row) -> Preview | Repeat | Refusal:
        """What would become of `row`."""
        try:
            job = job_of(row, self._settings)
            preview = self._previewer.preview(job)
            first, digest = self._seen.setdefault(job.id, (row.number, job.digest))
            if digest != job.digest:
                message = f"was used in row {first} for a job with other content"
                raise Refused(Problem(field="id", message=message))
        except Refused as refused:
            return refusal(row, refused)
        return preview if first == row.number else Repeat(row=row.number, repeats=first)


def _report(row: Row, found: Preview | Repeat | Refusal, tally: Counter[str], as_json: bool) -> None:
    if isinstance(found, Repeat):
        tally["repeated"] += 1
        if as_json:
            emit(found)
        else:
            say(f"Row {row.number} repeats row {found.repeats}: nothing is sent for it.")
        return
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
    repeated = f"{tally['repeated']} repeated, " if tally["repeated"] else ""
    line = f"{tally['good']} row(s) would be sent, {repeated}{tally['refused']} refused. "
    line += f"Messages at most: {over or 'none'}"
    line += f"; {tally['segments']} SMS segment(s)." if tally["segments"] else "."
    if as_json:
        note(line)
    else:
        say(line)
