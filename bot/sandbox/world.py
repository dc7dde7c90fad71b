"""People, what their phones and mailboxes show, and the record of every message a provider accepted.

The record is the judge of "once": a message is entered when its provider answers that it took it, and never
leaves. Whether it also reached the screen is `arrived`. Kept in memory only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bot.sandbox import judge, reading

Clock = Callable[[], datetime]


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True, eq=False)
class Person:
    """A customer, or one of the staff.

    `chat` is the Telegram user id; `whatsapp`: has WhatsApp on this phone; `active_at`: when the last message came
    or went, in seconds since 1970.
    """

    key: str
    name: str | None = None
    phone: str | None = None
    email: str | None = None
    chat: int | None = None
    whatsapp: bool = True
    staff: bool = False
    active_at: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """One message between merchant and customer, as its provider has it.

    `channel` is sms, whatsapp, email or telegram; `address` the customer's E.164, mail address or chat id in
    digits; `outgoing` from merchant to customer. `status` is the provider's word. `reference` is whatever id of
    the sender's came along: the query of Twilio's StatusCallback, a mail's Message-ID. `extra` holds what only
    one channel has.
    """

    provider: str
    channel: str
    id: str
    address: str
    sender: str
    text: str
    at: datetime
    outgoing: bool = True
    status: str = "accepted"
    arrived: bool = False
    error: str | None = None
    reference: str | None = None
    numbers: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Shared:
    """A control number that messages named: the last amount they asked for, and those messages."""

    number: str
    amount: Decimal | None = None
    messages: list[Message] = field(default_factory=list)


class World:
    """Everything the sandbox knows. Listeners wait for `change`; `version` counts the changes.

    `counts` is how many messages each provider took.
    """

    def __init__(self, clock: Clock = now) -> None:
        self.clock = clock
        self.version = 0
        self.people: list[Person] = []
        self.messages: list[Message] = []
        self.counts: Counter[str] = Counter()
        self.shared: dict[str, Shared] = {}
        self.known_numbers: set[str] = set()
        self._threads: defaultdict[tuple[str, str], list[Message]] = defaultdict(list)
        self._owners: dict[tuple[str, str], Person] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    # People

    def person(
        self,
        name: str | None = None,
        *,
        phone: str | None = None,
        email: str | None = None,
        chat: int | None = None,
        whatsapp: bool = True,
        staff: bool = False,
    ) -> Person:
        """Register a person by addresses. One who has any of them already is completed, not made again."""
        known = self._find(phone, email, chat)
        person = known or Person(key=f"p{len(self.people) + 1}")
        if known is None:
            self.people.append(person)
        person.name, person.whatsapp, person.staff = name or person.name, whatsapp, staff or person.staff
        person.phone, person.email = phone or person.phone, email or person.email
        person.chat = chat or person.chat or (700_000_000 + len(self.people))
        self._index(person)
        self.changed()
        return person

    def _find(self, phone: str | None, email: str | None, chat: int | None) -> Person | None:
        addresses = (("phone", phone), ("email", email), ("chat", str(chat) if chat else None))
        owners = (self._owners.get((kind, address.lower())) for kind, address in addresses if address)
        return next((owner for owner in owners if owner), None)

    def _index(self, person: Person) -> None:
        for kind in ("phone", "email", "chat"):
            address = getattr(person, kind)
            if address:
                self._take(kind, address, person)
                self._owners[kind, str(address).lower()] = person

    def _take(self, kind: str, address: object, person: Person) -> None:
        """Move an address to `person`; whoever was only known by it was nobody else."""
        before = self._owners.get((kind, str(address).lower()))
        if before is None or before is person:
            return
        setattr(before, kind, None)
        if not (before.name or before.phone or before.email):
            self.people.remove(before)

    def owner(self, channel: str, address: str) -> Person:
        """Whose screen `address` is; somebody new if nobody has registered it."""
        if channel == "email":
            return self._find(None, address, None) or self.person(email=address)
        if channel == "telegram":
            return self._find(None, None, int(address)) or self.person(chat=int(address))
        return self._find(address, None, None) or self.person(phone=address)

    # Messages

    def accept(self, message: Message) -> None:
        """Enter a message that its provider took (or, not `outgoing`, that a customer wrote)."""
        self.owner(message.channel, message.address).active_at = message.at.timestamp()
        self.messages.append(message)
        self.counts[message.provider] += message.outgoing
        self._threads[message.channel, message.address.lower()].append(message)
        if message.outgoing:
            self.read(message)
        self.changed()

    def read(self, message: Message, also: str = "") -> None:
        """Note the control numbers in a message; `also` is text outside the body, such as a copy button's."""
        text = f"{message.text}\n{also}"
        for number in reading.control_numbers(text, self.known_numbers):
            shared = self.shared.setdefault(number, Shared(number))
            if number not in message.numbers:
                message.numbers.append(number)
                shared.messages.append(message)
            shared.amount = reading.amount(text) or shared.amount

    def accepted(self, channel: str | None = None, address: str | None = None) -> list[Message]:
        """Messages to customers that providers took, oldest first."""
        source = self.messages if address is None else self._of(channel, address)
        return [each for each in source if each.outgoing and channel in (None, each.channel)]

    def verdict(self) -> judge.Verdict:
        """How often each message was taken, by its sender's reference: see `judge`."""
        return judge.verdict(self.messages)

    def _of(self, channel: str | None, address: str) -> Iterator[Message]:
        channels = [channel] if channel else ["sms", "whatsapp", "email", "telegram"]
        return (each for name in channels for each in self._threads.get((name, address.lower()), []))

    def thread(self, channel: str, address: str) -> list[Message]:
        """Both directions of one conversation, also what has not arrived, oldest first."""
        return list(self._threads.get((channel, address.lower()), []))

    def screen(self, channel: str, address: str) -> list[Message]:
        """What the customer sees: messages that arrived, and their own."""
        return [each for each in self.thread(channel, address) if each.arrived or not each.outgoing]

    # Changes

    def changed(self) -> None:
        """Say that something changed."""
        self.version += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        """Wait for the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until(self, holds: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until `holds` after some change. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                await self.change()
