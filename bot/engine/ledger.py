"""The books: every message is in exactly one state, and the counters say the same as the records."""

from __future__ import annotations

from collections import Counter

import msgspec

from bot.engine import keys
from bot.engine.doubt import ASKED
from bot.engine.inspection import Inspection, shown
from bot.engine.records import Records
from bot.engine.store import guard

_STILL_TRIES = 5
_SHOWN = 20
_WAITING = ("scheduled", "queued", "handed_out", "in_doubt")


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all partitions. `waiting` is per channel and lane ("sms.urgent"), handed-out ones included.

    `creating`: control numbers to be made; `clickpesa_to_tell`: numbers whose state ClickPesa does not know yet.
    `asking`: of those in doubt, how many are to be asked about just now. `doubts`: how doubts ended so far: `adopted`
    (the provider has it), `confirmed` (a callback came), `resent`, `held` for staff; `twice`: what was sent again and
    turned out to have been taken before.
    """

    created: int
    scheduled: int
    queued: int
    handed_out: int
    in_doubt: int
    done: dict[str, int]
    possible_duplicates: int
    inbox: int
    waiting: dict[str, int]
    dead: int
    unmatched: int
    open_bills: int
    creating: int = 0
    clickpesa_to_tell: int = 0
    asking: int = 0
    doubts: dict[str, int] = {}


class LedgerReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the books add up, and what does not.

    `moving` names partitions that never stood still while they were read: their counters were added up, but could not
    be held against the records.
    """

    ok: bool
    differences: list[str]
    moving: list[int] = []
    stats: Stats


class Ledger:
    """The counters of all partitions."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def stats(self) -> Stats:
        """Read the counters; cost does not grow with the backlog."""
        totals: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for p in range(self._records.partitions):
            await self._add(p, totals, waiting)
        inbox = 0
        with guard():
            for name in [keys.INBOX, *map(keys.inbox, range(self._records.partitions))]:
                inbox += await self._records.client.xlen(name)
        return Stats(
            created=totals["created"],
            scheduled=totals["scheduled"],
            queued=totals["queued"],
            handed_out=totals["handed_out"],
            in_doubt=totals["in_doubt"],
            done={name[2:]: count for name, count in sorted(totals.items()) if name.startswith("o:")},
            possible_duplicates=totals["duplicates"],
            inbox=inbox,
            waiting={name: count for name, count in sorted(waiting.items()) if count},
            dead=totals["dead"],
            unmatched=totals["unmatched"],
            open_bills=totals["open"],
            creating=totals["creating"],
            clickpesa_to_tell=totals["sync"],
            asking=totals["asking"],
            doubts={name[6:]: count for name, count in sorted(totals.items()) if name.startswith("doubt:")},
        )

    async def _add(self, p: int, totals: Counter[str], waiting: Counter[str]) -> None:
        lanes = [(ch, lane) for ch in ("sms", "whatsapp", "email", "telegram") for lane in ("u", "b")]
        prefix = keys.prefix(p)
        with guard():
            pipe = self._records.client.pipeline()
            pipe.hgetall(f"{prefix}n")
            pipe.zcard(f"{prefix}dead")
            pipe.zcard(f"{prefix}um")
            for queue in ("make:u", "make:b", "sync"):
                pipe.zcard(f"{prefix}{queue}")
            for name in ASKED:
                pipe.zcard(f"{prefix}ask:{name}")
            for ch, lane in lanes:
                pipe.xlen(f"{prefix}q:{ch}:{lane}")
            counters, dead, unmatched, urgent, bulk, sync, *rest = await pipe.execute()
        totals.update({name: int(count) for name, count in counters.items()})
        asking, lengths = sum(rest[: len(ASKED)]), rest[len(ASKED) :]
        totals.update({"dead": dead, "unmatched": unmatched, "asking": asking})
        totals.update({"creating": urgent + bulk, "sync": sync})
        names = [f"{ch}.{'urgent' if lane == 'u' else 'bulk'}" for ch, lane in lanes]
        waiting.update(dict(zip(names, lengths, strict=True)))

    async def check(self) -> LedgerReport:
        """Add everything up: counters against each other, and against every record (a scan of the data set).

        Per partition: created = scheduled + queued + handed out + in doubt + done, every done one has an outcome,
        and the records that wait are as many as the counters say. And each record agrees with what it waits in
        (bot.engine.inspection). Right while everything is at work.
        """
        differences: list[str] = []
        moving: list[int] = []
        for p in range(self._records.partitions):
            counts, records = await self._still(p)
            wrong = _books(counts) + (_compare(counts, records) if records is not None else [])
            wrong += shown(await Inspection(self._records).find(p), _SHOWN)
            differences += [f"partition {p}: {text}" for text in wrong]
            moving += [p] if records is None else []
        return LedgerReport(
            ok=not differences, differences=differences, moving=moving, stats=await self.stats()
        )

    async def _still(self, p: int) -> tuple[Counter[str], Counter[str] | None]:
        """Counters and records of one moment: read until nothing moved meanwhile, None for records if it always did."""
        before = await self._counters(p)
        for _ in range(_STILL_TRIES):
            records = await self._count(p)
            after = await self._counters(p)
            if after == before:
                return after, records
            before = after
        return before, None

    async def _counters(self, p: int) -> Counter[str]:
        with guard():
            found = await self._records.client.hgetall(f"{keys.prefix(p)}n")
        return Counter({name: int(count) for name, count in found.items()})

    async def _count(self, p: int) -> Counter[str]:
        found: Counter[str] = Counter()
        client = self._records.client
        with guard():
            # SCAN may name a key twice.
            pattern = keys.pattern(f"{keys.prefix(p)}m:")
            names = list({key async for key in client.scan_iter(match=pattern, count=5000)})
            for at in range(0, len(names), 1000):
                pipe = client.pipeline()
                for name in names[at : at + 1000]:
                    pipe.hmget(name, "st", "o")
                for state, outcome in await pipe.execute():
                    found.update([state, f"o:{outcome}"] if state == "done" else [state] if state else [])
            found["open"] = await self._open(p)
        return found

    async def _open(self, p: int) -> int:
        client, pattern = self._records.client, keys.pattern(f"{keys.prefix(p)}a:")
        names = list({key async for key in client.scan_iter(match=pattern, count=5000)})
        count = 0
        for at in range(0, len(names), 1000):
            pipe = client.pipeline()
            for name in names[at : at + 1000]:
                pipe.hget(name, "st")
            count += (await pipe.execute()).count("open")
        return count


def _books(counts: Counter[str]) -> list[str]:
    parts = sum(counts[state] for state in (*_WAITING, "done"))
    outcomes = sum(count for name, count in counts.items() if name.startswith("o:"))
    wrong = []
    if counts["created"] != parts:
        wrong.append(f"{counts['created']} created, but {parts} in all states together")
    if counts["done"] != outcomes:
        wrong.append(f"{counts['done']} done, but {outcomes} have an outcome")
    return wrong + [f"{state} is {counts[state]}" for state in (*_WAITING, "open") if counts[state] < 0]


def _compare(counts: Counter[str], records: Counter[str]) -> list[str]:
    wrong = [
        f"{state}: counters say {counts[state]}, records {records[state]}"
        for state in (*_WAITING, "open")
        if counts[state] != records[state]
    ]
    # Done messages are forgotten after their retention, so there may be fewer records, never more.
    ends = ["done", *sorted(name for name in records if name.startswith("o:"))]
    return wrong + [
        f"{name}: counters say {counts[name]}, records {records[name]}"
        for name in ends
        if records[name] > counts[name]
    ]
