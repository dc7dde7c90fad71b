"""What senders and providers bear, kept by all processes together: tokens of a rate, and places for requests.

A worker leases tokens before it is handed messages, takes only as many, and gives back what it did not use with its
next lease: one round trip a batch. A message is leased for the most segments an SMS may have; what its text did not
need comes back too. Without tokens nothing is handed out, so a message waits where it waited before, its lease has not
begun, and its validity decides as always; the worker sleeps for as long as the lease said.

Clock and precision: those of lua/lease.lua, the server's. Bulk leaves a fifth of a second of tokens, and a fifth of the
places, to urgent messages, and at least those of one message. A sender slower than one message a second thus sends up
to two at once, and no more than its rate after that. Telegram's limit of one chat is asked for after hand out, when
the chat is known: who must wait goes back to its timer and costs neither tokens nor an attempt, others go on.

With several SMS providers the channel has one bucket, whose rate is what no provider's sender has too much of, by the
parts that `SmsRouter` gives them now; chance may give one of them a little more of a second than its rate.

What the staff bot says itself is counted (`Talk`): in its chat it takes its turn, of the bot's whole rate it takes a
token even if there is none, as a person waits for it; messages of bills then wait longer. Tokens of a message whose
lease ended before it was written come back; its chat's turn does not, and it waits a second for the next.

What it does not do: count what others send from the same account.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from bot.engine import keys
from bot.engine.records import Records
from bot.engine.store import guard
from bot.render.segments import count
from bot.settings import Settings
from channels.base import Channel, ChannelName, Content, SmsContent

# A second of the rate gathers in all: the late wake of a worker costs nothing, and 60 s hold at most 61 s of it.
_BURST_S, _SPARE_S = 0.8, 0.2
# Segments a second of a sender name, messages a second of a WhatsApp sender. Source: Twilio error 30001 and
# https://www.twilio.com/docs/whatsapp/best-practices-and-faqs (reference/providers 1.8).
_TWILIO_SMS, _TWILIO_WHATSAPP = 10.0, 80.0
# Twilio limits requests at once (error 20429) and names no figure: this is what one process could make before.
_TWILIO_PLACES = 100.0
# Source: https://core.telegram.org/bots/faq, "My bot is hitting limits".
_TELEGRAM, _CHAT = 30.0, 1.0
_MARGIN_S = 1.0
Figures = Mapping[str, float]


@runtime_checkable
class Splitting(Protocol):
    """A channel of several providers."""

    def shares(self) -> Mapping[str, float]:
        """The part of the messages that each gets now."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """How many messages may be taken now, and of them bulk; when urgent and bulk ones may be asked for, if none may."""

    all: int
    bulk: int
    wait_s: float = 0.0
    bulk_wait_s: float = 0.0


@dataclass(slots=True)
class _Account:
    """What this process holds of one channel's limits: tokens nobody used yet, and the places it has told of."""

    cost: int
    tokens: int = 0
    places: int = 0


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A channel's rate as it stands: tokens a second, how many wait to be used, ever used, and leases that got none."""

    rate: float
    tokens: float
    used: int
    waits: int


def rates(settings: Settings) -> dict[str, Figures]:
    """Tokens a second by channel and provider (`chat`: of one Telegram chat); 0 is no limit."""
    twilio = _theirs(settings.twilio_api_base, "twilio.com")
    telegram = _theirs(settings.telegram_api_base, "telegram.org")
    return {
        "sms": _figures(settings.sms_rate, twilio=_TWILIO_SMS * twilio, africastalking=0.0),
        "whatsapp": _figures(settings.whatsapp_rate, twilio=_TWILIO_WHATSAPP * twilio),
        "email": _figures(settings.email_rate, smtp=0.0),
        "telegram": {
            "telegram": dict(settings.telegram_rate or ()).get("", _TELEGRAM * telegram),
            "chat": dict(settings.telegram_rate or ()).get("chat", _CHAT * telegram),
        },
    }


def most_at_once(settings: Settings) -> Figures:
    """Requests at once by provider; 0 is no limit."""
    twilio = _TWILIO_PLACES * _theirs(settings.twilio_api_base, "twilio.com")
    return _figures(settings.provider_concurrency, twilio=twilio, africastalking=0.0, smtp=0.0, telegram=0.0)


def _theirs(base: str, domain: str) -> bool:
    """Whether an API is the provider's own: a server of somebody else has limits that are not known here."""
    host = urlsplit(base).hostname or ""
    return host == domain or host.endswith(f".{domain}")


def _figures(given: tuple[tuple[str, float], ...] | None, **known: float) -> dict[str, float]:
    named = dict(given or ())
    return {name: named.get(name, named.get("", default)) for name, default in known.items()}


class Limits:
    """The limits of one worker's channels."""

    def __init__(
        self, records: Records, settings: Settings, channels: Mapping[ChannelName, Channel], consumer: str
    ) -> None:
        self._records, self._settings, self._consumer = records, settings, consumer
        self._channels = {str(name): channel for name, channel in channels.items()}
        self._rates, self._most = rates(settings), most_at_once(settings)
        longest = settings.sms_max_segments
        self._held = {name: _Account(longest if name == "sms" else 1) for name in self._channels}
        # What does not change while the process lives, and is asked for several times a message.
        self._splitting = {name: made for name, made in self._channels.items() if isinstance(made, Splitting)}
        self._fixed = {name: {self._only(name): 1.0} for name in self._channels}
        self._unlimited = {
            name
            for name in self._channels
            if not any(self._rates[name][provider] for provider in self._providers(name))
        }

    async def lease(self, channel: str, urgent: int, bulk: int, busy: int) -> Lease:
        """Tokens and places for up to `urgent` messages of any lane, of them `bulk` bulk ones; `busy`: on their way.

        Without a limit everything is granted and nobody is asked. Raises StoreUnavailable.
        """
        want = max(urgent, bulk)
        every, places = self._every_us(channel), self._places(channel)
        if not want or not (every or places):
            return Lease(want, bulk)
        got, of_bulk, wait_s, bulk_wait_s = await self._ask(channel, (urgent, bulk, busy), every, places)
        return Lease(got, of_bulk, wait_s if urgent else 0.0, bulk_wait_s)

    async def give_back(self, channel: str, busy: int) -> None:
        """Before resting: what was leased and not used, and the places of requests that have ended."""
        held = self._held[channel]
        if held.tokens > 0 or held.places > busy:
            await self._ask(channel, (0, 0, busy), self._every_us(channel), self._places(channel))

    def used(self, channel: str, messages: int) -> None:
        """So many messages were handed out on a lease."""
        if self._every_us(channel):
            self._held[channel].tokens -= messages * self._held[channel].cost

    def spent(self, channel: str, content: Content | None) -> None:
        """What became of a message that was handed out: its text, or None if it is not sent after all."""
        held = self._held[channel]
        if self._every_us(channel):
            held.tokens += held.cost - _tokens(content)

    def unsent(self, channel: str, content: Content) -> None:
        """Nothing of a message left after all, so what its text had needed comes back."""
        if self._every_us(channel):
            self._held[channel].tokens += _tokens(content)

    async def chats(self, channel: str, addresses: Sequence[str]) -> list[float]:
        """For each address 0 if it may get a message now, else the seconds until it may. Raises StoreUnavailable."""
        rate = self._rates[channel].get("chat", 0.0)
        if not rate:
            return [0.0] * len(addresses)
        scripts = self._records.scripts
        return await scripts.run(scripts.chats(round(1e6 / rate), addresses))

    async def _ask(
        self, channel: str, wanted: tuple[int, int, int], every: float, places: list[dict[str, Any]]
    ) -> tuple[int, int, float, float]:
        held, (urgent, bulk, busy) = self._held[channel], wanted
        back, held.tokens = held.tokens, 0
        request = {
            **{"ch": channel, "who": self._consumer, "want": max(urgent, bulk), "bulk": bulk},
            **{"urgent": urgent > 0, "cost": held.cost, "back": back, "every": every},
            **_room(every, held.cost),
            **{"busy": busy, "places": places, "keep": self._keep_us(channel)},
        }
        scripts = self._records.scripts
        answer = await scripts.run(scripts.lease(request))
        held.tokens += answer[0] * held.cost if every else 0
        held.places = busy + answer[0] if places else 0
        return answer

    def _parts(self, channel: str) -> Mapping[str, float]:
        """Which providers get how much of a channel."""
        made = self._splitting.get(channel)
        return made.shares() if made is not None else self._fixed[channel]

    def _providers(self, channel: str) -> Collection[str]:
        """Every provider that may get some of a channel at some time."""
        made = self._splitting.get(channel)
        return made.shares().keys() if made is not None else self._fixed[channel].keys()

    def _only(self, channel: str) -> str:
        if channel == "sms":
            route = self._settings.sms_route()
            return route[0][0] if route else "twilio"
        return {"whatsapp": "twilio", "email": "smtp"}.get(channel, channel)

    def _every_us(self, channel: str) -> float:
        if channel in self._unlimited:
            return 0.0
        rates, parts = self._rates[channel], self._parts(channel)
        bearable = [rates[name] / part for name, part in parts.items() if part > 0 and rates[name]]
        return 1e6 / min(bearable) if bearable else 0.0

    def _places(self, channel: str) -> list[dict[str, Any]]:
        return [
            {"name": name, "most": self._most[name], "part": part}
            for name, part in self._parts(channel).items()
            if part > 0 and self._most[name]
        ]

    def _keep_us(self, channel: str) -> float:
        """A request handed out now has ended after this, so the places of a worker that was lost are free again."""
        longest_s = self._channels[channel].request_timeout_s
        return (self._settings.lease_ms / 1000 + longest_s + _MARGIN_S) * 1e6


class Talk:
    """What the staff bot says besides the messages of bills, counted in the same rates."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._scripts = records.scripts
        figures = rates(settings)["telegram"]
        self._every_us = 1e6 / figures["telegram"] if figures["telegram"] else 0.0
        self._chat_us = round(1e6 / figures["chat"]) if figures["chat"] else 0

    async def turn(self, chat: str) -> float:
        """0 if `chat` may get a message now, which then counts; else seconds to wait. Raises StoreUnavailable."""
        if self._chat_us:
            [wait_s] = await self._scripts.run(self._scripts.chats(self._chat_us, [chat]))
            if wait_s:
                return wait_s
        await self.count()
        return 0.0

    async def count(self) -> None:
        """A message goes out, whether there is a token for it or not. Raises StoreUnavailable."""
        if self._every_us:
            nothing = {"want": 0, "bulk": 0, "urgent": False, "busy": 0, "places": [], "keep": 0}
            taken = {"ch": "telegram", "who": "staff", "cost": 1, "back": -1, "every": self._every_us}
            request = {**taken, **nothing, **_room(self._every_us, 1)}
            await self._scripts.run(self._scripts.lease(request))


def _room(every: float, cost: int) -> dict[str, float]:
    """How many tokens gather. Bulk needs those of one message, and urgent ones as many beside them."""
    rate = 1e6 / every if every else 0.0
    return {"burst": max(_BURST_S * rate, cost), "spare": max(_SPARE_S * rate, cost)}


def _tokens(content: Content | None) -> int:
    if content is None:
        return 0
    return count(content.text).segments if isinstance(content, SmsContent) else 1


async def standing(records: Records) -> dict[str, Limit]:
    """How the rates of all channels stand that were ever leased. Raises StoreUnavailable."""
    with guard():
        pipe = records.client.pipeline(transaction=False)
        for name in ChannelName:
            pipe.hgetall(f"{keys.LIMITS}rate:{name}")
        found = await pipe.execute()
        seconds, micros = await records.client.time()
    read = partial(_limit, now_us=int(seconds) * 1e6 + int(micros))
    return {str(name): read(fields) for name, fields in zip(ChannelName, found, strict=True) if fields}


def _limit(fields: Mapping[str, str], now_us: float) -> Limit:
    every, full = float(fields["every"]), float(fields["full"])
    taken = max(float(fields["tat"]) - now_us, 0.0) / every
    return Limit(
        rate=round(1e6 / every, 3),
        tokens=round(max(full - taken, 0.0), 3),
        used=int(fields.get("given") or 0),
        waits=int(fields.get("waits") or 0),
    )
