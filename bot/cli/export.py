"""`tuma export`: everything on record as NDJSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, note

if TYPE_CHECKING:
    from bot.engine.engine import Engine


def export_command(as_json: JsonFlag = False) -> None:
    """Write all bills, shares, messages and payments as NDJSON.

    One object per line, whose type is bill, share, message or payment. Phones and mail addresses are masked.
    """
    count = runtime.with_engine(_export)
    if not as_json:
        note(f"{count} record(s).")


async def _export(engine: Engine) -> int:
    from bot.cli.survey import everything

    count = 0
    async for value in everything(engine):
        emit(value)
        count += 1
    return count
