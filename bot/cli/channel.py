"""`tuma channel`: the kill switch of each channel."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, emit_all, say, table
from channels.name import ChannelName

app = typer.Typer(help="Pause and resume a channel, everywhere at once.", no_args_is_help=True)

Name = Annotated[ChannelName, typer.Argument(metavar="CHANNEL", help="sms, whatsapp, email or telegram.")]


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List the channels: which are off, paused, or running."""
    settings = runtime.settings()
    paused = runtime.with_engine(lambda engine: engine.channels.paused(), settings)
    off = settings.channels_off()
    rows = []
    for name in ChannelName:
        pause = paused.get(name)
        state = "off" if name in off else "paused" if pause else "on"
        row = {
            "channel": name,
            "state": state,
            "missing": off.get(name),
            "reason": None,
            "by": None,
            "at": None,
        }
        rows.append(row | ({"reason": pause.reason, "by": pause.by, "at": pause.at} if pause else {}))
    if as_json:
        emit_all(rows)
    else:
        table(("Channel", "State", "Missing", "Reason", "By", "Since"), (tuple(row.values()) for row in rows))


@app.command("pause")
def pause_command(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; shown to staff.")] = "paused by hand",
    as_json: JsonFlag = False,
) -> None:
    """Stop sending over a channel now; its messages wait."""
    runtime.with_engine(lambda engine: engine.channels.pause(name, reason=reason, by=runtime.operator()))
    if as_json:
        emit({"ok": True, "channel": name, "state": "paused", "reason": reason})
    else:
        say(f"{name} is paused. Its messages wait; `tuma channel resume {name}` sends them.")


@app.command("resume")
def resume_command(name: Name, as_json: JsonFlag = False) -> None:
    """Send over a channel again."""
    runtime.with_engine(lambda engine: engine.channels.resume(name, by=runtime.operator()))
    if as_json:
        emit({"ok": True, "channel": name, "state": "on"})
    else:
        say(f"{name} is sending again.")
