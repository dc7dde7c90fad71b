"""How fast each channel may send, and who says so: for `tuma doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from channels.name import ChannelName

if TYPE_CHECKING:
    from bot.settings import Settings

_SETTING: Mapping[str, str] = {name: f"{name.upper()}_RATE" for name in ChannelName}


def in_force(channel: str, settings: Settings) -> Iterator[str]:
    """One line for each provider of the channel: its rate, and whether a setting or a default gives it."""
    from bot.engine.limits import rates

    given = dict(getattr(settings, f"{channel}_rate") or ())
    used = {name for name, _ in settings.sms_route()} if channel == ChannelName.SMS else None
    for name, rate in rates(settings)[channel].items():
        if used is None or name in used:
            yield _line(channel, name, rate, is_set=name in given or ("" in given and name != "chat"))


def _line(channel: str, name: str, rate: float, *, is_set: bool) -> str:
    unit = "segments" if channel == ChannelName.SMS else "messages"
    whom = "one chat" if name == "chat" else name
    if is_set:
        source = f"set by {_SETTING[channel]}"
    elif rate:
        source = f"the provider's usual figure; {_SETTING[channel]} sets another"
    else:
        source = f"none is known; {_SETTING[channel]} sets one"
    return f"{whom}: {f'{rate:g} {unit} a second' if rate else 'no limit'} ({source})"
