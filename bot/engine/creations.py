"""Control numbers that wait to be made: which, under which reference, and what happens when ClickPesa has answered.

A reference is drawn at random until it falls into the partition where its bill will live, and is on record before
ClickPesa is called: an answer that got lost is looked for, nothing is made twice, and the successor of a closed number
lives beside it, so that its commit is one script. Whoever takes a number to be made has it for `LEASE_MS`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from datetime import timedelta

import msgspec

from bot.domain.bill import BillKind, BillMode
from bot.domain.bill_job import BillJob
from bot.domain.creation import Made, Telling, Wanted
from bot.domain.money import from_minor, to_minor
from bot.domain.share import ShareJob
from bot.engine import keys, views
from bot.engine.contacts import Contacts
from bot.engine.records import Records
from bot.engine.scripts import Drawn, now_ms
from bot.engine.shares import INSTRUCTIONS_VALID, Shares
from bot.engine.standing import telling
from bot.engine.store import guard
from bot.engine.wakeups import Wakeups

# Longer than a create with its look-ups can take; then another process repeats it under the same reference.
LEASE_MS = 120_000
WORD = "create"
_FIRST, _DIGITS = 10**13, 9 * 10**13


def draw_reference(p: int, partitions: int) -> str:
    """A random control number of 14 digits that lives in partition `p`. Every wallet can type digits."""
    while True:
        reference = str(_FIRST + secrets.randbelow(_DIGITS))
        if keys.partition(reference, partitions) == p:
            return reference


class Creations:
    """What waits for ClickPesa in all partitions."""

    def __init__(self, records: Records, shares: Shares, contacts: Contacts) -> None:
        self._records, self._shares, self._contacts = records, shares, contacts
        self._wakeups = Wakeups(records, [WORD])

    async def listen(self, stop: asyncio.Event) -> None:
        """Hear of new work until `stop`."""
        await self._wakeups.run(stop)

    async def wait(self, busy: Collection[asyncio.Task[None]]) -> None:
        """Until there may be work or one of `busy` has ended; a second at most."""
        await self._wakeups.wait(WORD, "u", busy=busy)

    async def urgent(self, most: int) -> list[Wanted]:
        """Numbers to be made at once, at most so many."""
        taken: list[Wanted] = []
        marked, _ = self._wakeups.partitions(WORD)
        for p in marked:
            if len(taken) >= most:
                return taken  # the rest of the partitions stay marked
            self._wakeups.forget(WORD, "u", p)
            taken += await self._take(p, "u", most - len(taken))
        return taken

    async def bulk(self, most: int, wait_ms: int) -> list[Wanted]:
        """Numbers for one bulk call, when there are `most` of them or the oldest has waited for `wait_ms`."""
        now = now_ms()
        with guard():
            pipe = self._records.client.pipeline()
            for p in range(self._records.partitions):
                pipe.zcount(f"{keys.prefix(p)}make:b", "-inf", now)
                pipe.zrange(f"{keys.prefix(p)}make:b", 0, 0, withscores=True)
            rows = await pipe.execute()
        counts, heads = rows[::2], [head[0][1] for head in rows[1::2] if head]
        if sum(counts) < most and not (heads and min(heads) + wait_ms <= now):
            return []
        taken: list[Wanted] = []
        for p, count in enumerate(counts):
            if count and len(taken) < most:
                taken += await self._take(p, "b", min(count, most - len(taken)))
        return taken

    async def _take(self, p: int, lane: str, most: int) -> list[Wanted]:
        with guard():
            due = await self._records.client.zcount(f"{keys.prefix(p)}make:{lane}", "-inf", now_ms())
        if not due:
            return []
        fresh = [draw_reference(p, self._records.partitions) for _ in range(min(due, most))]
        call = self._records.scripts.draw(p, now_ms(), lane, LEASE_MS, fresh)
        return [_wanted(p, drawn) for drawn in await self._records.scripts.run(call)]

    async def made(self, wanted: Wanted) -> Made:
        """ClickPesa has this number: the share, the bill or the balance that waited for it goes on. May be repeated."""
        kind, _, name = wanted.member.partition(":")
        if kind == "n":
            return await self._succeed(name, wanted)
        scripts = self._records.scripts
        if not await scripts.run(scripts.made(wanted.partition, now_ms(), name, wanted.reference)):
            return Made("stale")
        await self._shares.complete_claim(wanted.partition, name)
        return Made("taken")

    async def _succeed(self, old: str, wanted: Wanted) -> Made:
        """Let the new number stand for the balance, then put it under its contacts; only then nothing waits."""
        scripts, p = self._records.scripts, wanted.partition
        names = await self._names(old)
        minor = to_minor(wanted.amount, wanted.currency)
        valid_ms = _ms(INSTRUCTIONS_VALID)
        reply = await scripts.run(
            scripts.succeed(p, old, wanted.reference, wanted.kind, minor, valid_ms, names)
        )
        if reply[0] == "amount":
            return Made("amount", from_minor(int(reply[1]), wanted.currency))
        if reply[0] == "ok":
            rows = [(wanted.reference, *_pair(address)) for address in reply[1:]]
            await self._contacts.index(rows)
            with guard():
                await self._records.client.zrem(f"{keys.prefix(p)}make:u", wanted.member)
            return Made("taken")
        return Made("unneeded" if reply[0] == "unneeded" else "stale")

    async def _names(self, number: str) -> list[str]:
        account = await self._records.account(number)
        shares = await self._records.shares_of(number, account)
        names = {s.get("nm") for s in shares} | {account.get("nm")}
        return sorted(name.casefold() for name in names if name)

    async def later(self, wanted: Wanted, seconds: float) -> None:
        """It was not made, or nobody knows: try again after a while."""
        at = now_ms() + int(seconds * 1000)
        scripts = self._records.scripts
        await scripts.run(scripts.unmade(wanted.partition, wanted.member, wanted.reference, "later", at))

    async def another(self, wanted: Wanted) -> None:
        """Somebody else has this reference: draw another one."""
        scripts = self._records.scripts
        await scripts.run(scripts.unmade(wanted.partition, wanted.member, wanted.reference, "another"))

    async def refused(self, wanted: Wanted, why: str) -> None:
        """ClickPesa will not make it: whoever wanted it is told why."""
        scripts, (kind, _, name) = self._records.scripts, wanted.member.partition(":")
        if kind == "c":
            # First the record for the producer: told twice is better than never.
            await self._shares.reject_claim(wanted.partition, name, why)
        await scripts.run(scripts.unmade(wanted.partition, wanted.member, wanted.reference, "refused", why))

    async def unwanted(self, wanted: Wanted) -> None:
        """Nobody waits for this number: ClickPesa is told to close it, as often as that takes."""
        with guard():
            key = f"{keys.prefix(wanted.partition)}sync"
            await self._records.client.zadd(key, {wanted.reference: now_ms()}, nx=True)

    # What ClickPesa is to be told

    async def to_tell(self, most: int) -> list[Telling]:
        """Numbers whose state ClickPesa does not know yet."""
        scripts = self._records.scripts
        found: list[Telling] = []
        with guard():
            pipe = self._records.client.pipeline()
            for p in range(self._records.partitions):
                pipe.zcount(f"{keys.prefix(p)}sync", "-inf", now_ms())
            counts = await pipe.execute()
        for p, count in enumerate(counts):
            if count and len(found) < most:
                rows = await scripts.run(scripts.sync_take(p, LEASE_MS, most - len(found)))
                found += [telling(*row) for row in rows]
        return found

    async def told(self, telling: Telling) -> None:
        """ClickPesa knows; or there is nothing that it could be told."""
        scripts, p = self._records.scripts, self._records.partition(telling.number)
        await scripts.run(scripts.sync_done(p, telling.number, telling.version))

    async def tell_later(self, telling: Telling, seconds: float) -> None:
        """ClickPesa could not be told now."""
        scripts, p = self._records.scripts, self._records.partition(telling.number)
        at = now_ms() + int(seconds * 1000)
        await scripts.run(scripts.sync_done(p, telling.number, telling.version, later_ms=at))


def _wanted(p: int, drawn: Drawn) -> Wanted:
    if drawn.member.startswith("n:"):
        return _balance_wanted(p, drawn)
    name = drawn.member[2:]
    kind: type[BillJob] | type[ShareJob] = BillJob if keys.is_bill(name) else ShareJob
    job: BillJob | ShareJob = msgspec.json.decode(drawn.record["job"], type=kind)
    customer = job.customer if job.bill.create is BillKind.CUSTOMER else None
    return Wanted(
        partition=p,
        member=drawn.member,
        reference=drawn.reference,
        tries=drawn.tries,
        kind=job.bill.kind,
        amount=job.bill.amount,
        currency=job.bill.currency,
        mode=job.bill.mode,
        description=job.bill.description,
        name=customer.name if customer else None,
        phone=customer.phone if customer else None,
        email=customer.email if customer else None,
    )


def _balance_wanted(p: int, drawn: Drawn) -> Wanted:
    """The new number has the oldest unpaid bill's words, and all that is owed."""
    a, s = drawn.record, drawn.share
    terms = [term for term in views.terms_of(a) if views.balance(a, term)] or views.terms_of(a)
    name = views.name_of(s, a) if s else None
    phone, email = s.get("a:phone"), s.get("a:email")
    named = a.get("nxk") == BillKind.CUSTOMER and name and (phone or email)
    return Wanted(
        partition=p,
        member=drawn.member,
        reference=drawn.reference,
        tries=drawn.tries,
        kind=BillKind.CUSTOMER if named else BillKind.ORDER,
        amount=from_minor(sum(views.balance(a, term) for term in terms), a["cur"]),
        currency=a["cur"],
        mode=BillMode(a[f"tm:{terms[0]}"]),
        description=a.get(f"tx:{terms[0]}"),
        name=name if named else None,
        phone=phone if named else None,
        email=email if named else None,
    )


def _pair(address: str) -> tuple[str, str]:
    kind, _, value = address.partition(":")
    return kind, value


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
