"""`tuma up` and `tuma demo`: what keeps running until it is stopped."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, note
from bot.errors import TumaError
from channels.name import ChannelName

if TYPE_CHECKING:
    import asyncio

    from bot.settings import Settings


class RoleName(StrEnum):
    """The roles of `bot.app.Role`, which is not imported for the sake of a help text."""

    API = "api"
    INTAKE = "intake"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    STAFF = "staff"


def up_command(
    roles: Annotated[
        str, typer.Option(metavar="ROLE,...", help=f"What this process does: {', '.join(RoleName)}.")
    ] = ",".join(RoleName),
    channels: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL,...", help="Send only over these. Default: all that are on."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run tuma: take bills, send messages, take payments.

    All roles in one process, or with --roles some of them in each of many processes on one Redis. Ctrl-C or SIGTERM
    finishes what is being sent, then ends. A Redis that is not there yet is waited for (TUMA_START_WAIT_S).
    """
    from bot.log import configure

    chosen = _chosen(RoleName, roles, "--roles")
    only = None if channels is None else _chosen(ChannelName, channels, "--channels")
    settings = runtime.settings()
    configure(settings)
    _announce(settings, chosen, as_json)
    _run_loop(_up(settings, chosen, only))


def demo_command(
    once: Annotated[bool, typer.Option("--once", help="Tell the story unattended, then end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """See the whole story on this machine: no accounts, no Redis, no money.

    Prints the address of a page with customers' phones and mailboxes, and buttons to pay.
    """
    from bot.demo import run

    if code := run(once=once, json=as_json):
        raise typer.Exit(code)


def _chosen(kind: type[StrEnum], text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in list(kind)]
    if wrong or not names:
        raise typer.BadParameter(
            f"expected some of {', '.join(kind)}, separated by commas", param_hint=option
        )
    return names


def _announce(settings: Settings, roles: list[str], as_json: bool) -> None:
    off = settings.channels_off()
    if as_json:
        on = [name for name in ChannelName if name not in off]
        emit({"roles": roles, "listen": settings.listen, "on": on, "off": off}, now=True)
        return
    for name, missing in off.items():
        why = f": {settings.mapping_problem}" if missing == "WHATSAPP_TEMPLATES" else " not set"
        note(f"{name} is off: {missing}{why}")


async def _up(settings: Settings, roles: list[str], channels: list[str] | None) -> None:
    import asyncio

    from bot.app import Role, open_app_in_time

    _may_open_many()
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        chosen = [Role(role) for role in roles]
        async with open_app_in_time(settings, chosen, channels, stop) as app:
            if app is not None:
                runtime.collect_only_new()
                await app.run(stop)


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second one ends the process at once."""
    import asyncio

    loop = asyncio.get_running_loop()

    def once(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, once, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _may_open_many() -> None:
    """Let this process open as many connections as the system allows it: every reader of a bill holds one."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one. What tuma raises on purpose comes out of its group."""
    import asyncio

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(work)
    except* TumaError as group:
        raise _first(group) from group


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not made for Windows
        return None
    return new_event_loop


def _first(group: BaseExceptionGroup[TumaError]) -> TumaError:
    found: BaseExceptionGroup[TumaError] | TumaError = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
