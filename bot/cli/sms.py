"""`tuma sms`: what a text costs as an SMS, before anybody sends it."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated

import typer

from bot.cli.output import FAILED, JsonFlag, emit, say

app = typer.Typer(help="What a text costs as an SMS.", no_args_is_help=True)

_SURROGATE = re.compile("[\ud800-\udfff]")


@app.command("count")
def count_command(
    text: Annotated[
        str, typer.Argument(metavar="TEXT|-", help="The text, or - to read one JSON string per line.")
    ] = "-",
    as_json: JsonFlag = False,
) -> None:
    """Count how many SMS a text costs, and in which alphabet (gsm-7 or ucs-2).

    With - each line in is one JSON string, and each line out one JSON object: encoding, units, segments; or error,
    if the line (an empty one too) is no JSON string.
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
    for line in sys.stdin.buffer:
        try:
            emit(_counted(_text(line)), now=True)
        except (ValueError, RecursionError):
            failed = True
            emit({"error": "the line is not a JSON string"}, now=True)
    if failed:
        raise typer.Exit(FAILED)


def _text(line: bytes) -> str:
    """A JSON string. Half of a surrogate pair counts as the one unit that it takes. Raises ValueError."""
    text = json.loads(line.decode("utf-8-sig"))
    if not isinstance(text, str):
        raise ValueError("no string")
    return _SURROGATE.sub("\ufffd", text)
