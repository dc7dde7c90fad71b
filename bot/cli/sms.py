"""`tuma sms`: what a text costs as an SMS, before anybody sends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from bot.cli.output import FAILED, JsonFlag, emit, say

app = typer.Typer(help="What a text costs as an SMS.", no_args_is_help=True)


@app.command("count")
def count_command(
    text: Annotated[
        str, typer.Argument(metavar="TEXT|-", help="The text, or - to read one JSON string per line.")
    ] = "-",
    as_json: JsonFlag = False,
) -> None:
    """Count how many SMS a text costs, and in which alphabet (gsm-7 or ucs-2).

    With - each line in is one JSON string, and each line out one JSON object: encoding, units, segments.
    """
    if text == "-":
        _count_lines()
        return
    found = _counted(text)
    if as_json:
        emit(found)
    else:
        say(f"{found['segments']} SMS ({found['encoding']}, {found['units']} units)")


def _counted(text: str) -> dict[str, str | int]:
    from bot.render.segments import count

    found = count(text)
    return {"encoding": found.encoding, "units": found.units, "segments": found.segments}


def _count_lines() -> None:
    failed = False
    for line in _lines():
        try:
            emit(_counted(msgspec.json.decode(line, type=str)), now=True)
        except (msgspec.DecodeError, UnicodeDecodeError):
            failed = True
            emit({"error": "the line is not a JSON string"}, now=True)
    if failed:
        raise typer.Exit(FAILED)


def _lines() -> Iterator[bytes]:
    for line in sys.stdin.buffer:
        if line.strip():
            yield line
