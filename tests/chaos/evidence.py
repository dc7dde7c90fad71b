"""What tuma says of every share and message, beside what the providers took of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.domain.bill import MessageView, ShareView
from bot.domain.calendar import from_ms
from bot.domain.dead import DeadLetter
from bot.domain.message import Kind
from bot.engine import keys
from bot.engine.engine import Engine
from bot.errors import NotFound
from bot.replay.matching import TELEGRAM, Matching
from bot.sandbox.clickpesa_bills import Payment
from bot.sandbox.world import Message
from tests.chaos.city import STAFF_CHAT, Records
from tests.chaos.plan import Customer

_AT_ONCE = 50
_DEAD_PAGE = 500
_HASHES = 1000
_ASKING = (Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED)


@dataclass(frozen=True, slots=True)
class Case:
    """One customer's bill: tuma's share (None if it knows of none) and the payments, oldest first."""

    customer: Customer
    share: ShareView | None
    payments: Sequence[Payment]

    @property
    def told(self) -> list[Payment]:
        """Payments that brought money and whose webhook was answered 200, in that order."""
        found = [payment for payment in self.payments if payment.counts and payment.told]
        return sorted(found, key=lambda payment: payment.told or payment.created)

    @property
    def fence(self) -> datetime | None:
        """When the webhook was answered after which nobody may ask for this money any more."""
        owed = self.customer.amount
        for payment in self.told:
            owed -= int(payment.amount)
            if owed <= 0 or self.customer.kind == "order":
                return payment.told
        return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a run is judged by.

    `dead` are the dead letters, those held in doubt among them, and why each is one; `handed_out` when a worker
    last got a message, by its own clock; `by_provider_id` what providers took.
    """

    cases: Sequence[Case]
    dead: Mapping[str, str]
    taken: Matching
    by_provider_id: Mapping[str, Message]
    handed_out: Mapping[str, datetime]

    def messages(self) -> Iterator[tuple[Case, MessageView]]:
        """Every message with its case."""
        for case in self.cases:
            for view in case.share.messages if case.share else ():
                yield case, view


async def gather(engine: Engine, customers: Sequence[Customer], records: Records) -> Evidence:
    """Read everything; nothing may be moving any more."""
    paid: Mapping[str, list[Payment]] = defaultdict(list)
    for payment in records.payments:
        paid[payment.number].append(payment)
    cases = [
        Case(customer, share, paid[customer.number])
        for at in range(0, len(customers), _AT_ONCE)
        for customer, share in await _shares(engine, customers[at : at + _AT_ONCE])
    ]
    accepted = [each for each in records.accepted if each.address != str(STAFF_CHAT)]
    chats = [
        (str(case.customer.chat), view)
        for case in cases
        for view in (case.share.messages if case.share else ())
        if view.channel == TELEGRAM
    ]
    return Evidence(
        cases,
        await _dead(engine),
        Matching(accepted, chats),
        {each.id: each for each in accepted},
        await _handed_out(engine, cases),
    )


async def _handed_out(engine: Engine, cases: Sequence[Case]) -> dict[str, datetime]:
    every = [view.id for case in cases for view in (case.share.messages if case.share else ())]
    found: dict[str, datetime] = {}
    for at in range(0, len(every), _HASHES):
        part = every[at : at + _HASHES]
        places = [keys.parse_message_id(name, engine.partitions) for name in part]
        records = await engine.records.hashes([f"{keys.prefix(p)}m:{local}" for p, local in places])
        found |= {
            name: from_ms(int(fields["hat"]))
            for name, fields in zip(part, records, strict=True)
            if fields.get("hat")
        }
    return found


async def _shares(engine: Engine, customers: Sequence[Customer]) -> list[tuple[Customer, ShareView | None]]:
    found = await asyncio.gather(*(_share(engine, customer.share) for customer in customers))
    return list(zip(customers, found, strict=True))


async def _share(engine: Engine, share_id: str) -> ShareView | None:
    try:
        return await engine.shares.get(share_id)
    except NotFound:
        return None


async def _dead(engine: Engine) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        page = await engine.messages.dead_page(limit=_DEAD_PAGE, offset=len(found))
        found |= {letter.id: _why(letter) for letter in page.letters}
        if not page.letters or len(found) >= page.total:
            return found


def _why(letter: DeadLetter) -> str:
    reason = "in doubt, held" if letter.held else letter.reason or "unknown"
    return f"{letter.channel}: {reason}"


def asks(view: MessageView) -> bool:
    """Whether a message asks for money."""
    return view.kind in _ASKING


def takes(evidence: Evidence, view: MessageView) -> list[Message]:
    """Every time that a provider took a message, oldest first."""
    return evidence.taken.of(view)
