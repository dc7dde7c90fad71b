"""`tuma dead`: messages that could not be sent, what would mend them, and how to try again."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import FAILED, JsonFlag, emit, emit_all, note, say, table
from bot.domain.message import Kind
from bot.errors import NotFound, Refused
from channels.name import ChannelName

if TYPE_CHECKING:
    from bot.domain.dead import DeadFilter, LetterOutcome
    from bot.engine.engine import Engine

app = typer.Typer(help="Messages that could not be sent.", no_args_is_help=True)

_COLUMNS = ("Message", "Number", "Kind", "Channel", "To", "Why", "Error", "What to do", "Died")
_RUN = 1000

Channel = Annotated[ChannelName | None, typer.Option(help="Only of this channel.")]
OfKind = Annotated[Kind | None, typer.Option(help="Only of this kind.")]
Reason = Annotated[str | None, typer.Option(help="Only whose reason or provider error holds this text.")]
Number = Annotated[str | None, typer.Option(help="Only of this control number.")]
Share = Annotated[str | None, typer.Option(help="Only of the share with this id.")]
Ids = Annotated[list[str], typer.Argument(metavar="MESSAGE...", help="Ids, as `dead list` shows them.")]


@app.command("list")
def list_command(
    channel: Channel = None,
    kind: OfKind = None,
    reason: Reason = None,
    number: Number = None,
    share: Share = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most messages to list.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List what nobody sends any more: why, and what would mend it.

    With --json one object per line, and nothing if there are none.
    """
    only = _filter(channel, kind, reason, number, share)
    page = runtime.with_engine(lambda engine: engine.messages.dead_page(only, limit=limit, offset=offset))
    if as_json:
        emit_all(page.letters)
        return
    rows = (
        (m.id, m.number, m.kind, m.channel, m.to, m.reason, m.error, m.hint, m.died_at) for m in page.letters
    )
    shown = len(page.letters)
    title = "Dead letters" if shown == page.total else f"Dead letters: {shown} of {page.total}"
    table(_COLUMNS, rows, title=title)


@app.command("replay")
def replay_command(
    messages: Annotated[
        list[str] | None, typer.Argument(metavar="[MESSAGE...]", help="Ids, as `dead list` shows them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Instead of ids: all of them, or all that the filters mean.")
    ] = False,
    channel: Channel = None,
    kind: OfKind = None,
    reason: Reason = None,
    number: Number = None,
    share: Share = None,
    as_json: JsonFlag = False,
) -> None:
    """Send again what failed, once the cause is mended.

    What was paid or stopped meanwhile is not sent, and with --all only the newest message of each share and channel.
    """
    only = _filter(channel, kind, reason, number, share)
    _check_choice(messages or [], everything, only)
    if everything:
        counts = runtime.with_engine(lambda engine: _replay_all(engine, only, as_json))
        if not as_json:
            say(_summary(counts))
        return
    _tell(runtime.with_engine(lambda engine: _replay(engine, messages or [])), as_json)


@app.command("arrived")
def arrived_command(messages: Ids, as_json: JsonFlag = False) -> None:
    """Say that messages held in doubt did arrive, so they are not sent again."""
    _tell(runtime.with_engine(lambda engine: _arrived(engine, messages)), as_json)


def _filter(
    channel: ChannelName | None, kind: Kind | None, reason: str | None, number: str | None, share: str | None
) -> DeadFilter:
    from bot.domain.dead import DeadFilter

    return DeadFilter(channel=channel, kind=kind, reason=reason, number=number, share=share)


def _check_choice(messages: list[str], everything: bool, only: DeadFilter) -> None:
    if everything == bool(messages):
        raise typer.BadParameter("give the ids of messages, or --all")
    if messages and str(only) != "all":
        raise typer.BadParameter("filters go with --all, not with ids")


async def _replay(engine: Engine, messages: list[str]) -> list[LetterOutcome]:
    from bot.domain.dead import LetterOutcome

    by = runtime.operator()
    if len(messages) > 1:
        return (await engine.messages.replay_each(messages, by=by)).letters
    made = await engine.messages.replay(messages[0], by=by)
    return [LetterOutcome(message=messages[0], outcome="replayed", replayed_as=made)]


async def _replay_all(engine: Engine, only: DeadFilter, as_json: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    async for outcomes in _runs(engine, only):
        # Thousands that went well need no line each; what did not go does.
        shown = outcomes if as_json else [one for one in outcomes if one.outcome == "refused"]
        _print(shown, as_json)
        counts.update(one.outcome for one in outcomes)
    return counts


async def _runs(engine: Engine, only: DeadFilter) -> AsyncIterator[list[LetterOutcome]]:
    by, after = runtime.operator(), None
    while True:
        run = await engine.messages.replay_many(only, by=by, limit=_RUN, after=after)
        yield run.letters
        if (after := run.next) is None:
            return


async def _arrived(engine: Engine, messages: list[str]) -> list[LetterOutcome]:
    from bot.domain.dead import LetterOutcome

    by, outcomes = runtime.operator(), []
    for message in messages:
        try:
            outcomes.append(await engine.messages.settle_doubt(message, True, by=by))
        except NotFound:
            outcomes.append(LetterOutcome(message=message, outcome="unknown"))
        except Refused as refused:
            outcomes.append(LetterOutcome(message=message, outcome="refused", reason=str(refused)))
    return outcomes


def _tell(outcomes: list[LetterOutcome], as_json: bool) -> None:
    """Print what became of each, and fail if anything was left undone."""
    _print(outcomes, as_json)
    if any(one.outcome in ("refused", "unknown") for one in outcomes):
        raise typer.Exit(FAILED)


def _print(outcomes: Iterable[LetterOutcome], as_json: bool) -> None:
    for one in outcomes:
        if as_json:
            ok = one.outcome not in ("refused", "unknown")
            emit({"ok": ok, "message": one.message, "outcome": one.outcome, "replayed_as": one.replayed_as,
                  "reason": one.reason})  # fmt: skip
        elif one.outcome in ("refused", "unknown"):
            note(f"Error: {one.message}: {one.reason or 'no such message'}")
        else:
            say(_line(one))


def _line(one: LetterOutcome) -> str:
    if one.outcome == "replayed":
        return f"{one.message} is queued again as {one.replayed_as}."
    if one.outcome == "arrived":
        return f"{one.message} is noted as arrived."
    return f"{one.message} is not needed any more: {one.reason}."


def _summary(counts: Counter[str]) -> str:
    return f"{counts['replayed']} queued again, {counts['closed']} not needed any more, {counts['refused']} refused."
