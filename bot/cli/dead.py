"""`tuma dead`: messages that could not be sent, and how to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, emit_all, say, table

if TYPE_CHECKING:
    from bot.engine.engine import Engine

app = typer.Typer(help="Messages that could not be sent.", no_args_is_help=True)

_COLUMNS = ("Message", "Number", "Kind", "Channel", "To", "State", "Error", "Attempts", "Created")


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most messages to list.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List failed messages and those held for staff, with the provider's reason.

    With --json one object per line, and nothing if there are none.
    """
    found = runtime.with_engine(lambda engine: engine.messages.dead(limit, offset))
    if as_json:
        emit_all(found)
        return
    rows = (
        (
            m.id,
            m.number,
            m.kind,
            m.channel,
            m.to,
            m.outcome or m.state,
            m.error or m.reason,
            m.attempts,
            m.created_at,
        )
        for m in found
    )
    table(_COLUMNS, rows, title="Dead letters")


@app.command("replay")
def replay_command(
    messages: Annotated[
        list[str], typer.Argument(metavar="MESSAGE...", help="Ids, as `dead list` shows them.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Send again what failed, once the cause is mended. What was paid or stopped meanwhile is not sent."""
    made = runtime.with_engine(lambda engine: _replay(engine, messages))
    for old, new in made.items():
        if as_json:
            emit({"ok": True, "message": old, "replayed_as": new})
        else:
            say(f"{old} is queued again as {new}.")


async def _replay(engine: Engine, messages: list[str]) -> dict[str, str]:
    by = runtime.operator()
    return {message: await engine.messages.replay(message, by=by) for message in messages}
