"""Sending dead letters again, and deciding about those in doubt.

Each goes out as a new message, and the old one names it: repeating a replay answers what the first one made.
Requests for money go again only while the bill asks for money; of several about one share and channel only the newest
does when many are replayed at once. What may have arrived already is flagged as a possible duplicate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import aclosing

from bot.domain.contact import mask_text
from bot.domain.dead import REPLAY_MOST, DeadFilter, LetterOutcome, Replayed
from bot.engine import keys
from bot.engine.dead import DeadLetters, Place
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.errors import NotFound, Problem, Refused

_VALID_MS = 7 * 86_400_000
# One script call holds its server for a few milliseconds.
_AT_ONCE = 100
# A filter that matches little ends a call after having looked at so many.
_LOOK_MOST = 100_000


class Replays:
    """What staff do with dead letters; every act is in the audit stream."""

    def __init__(self, records: Records, dead: DeadLetters) -> None:
        self._records, self._dead = records, dead

    async def one(self, message_id: str, *, by: str, doubt: bool = False) -> LetterOutcome:
        """Replay one, urgently; `doubt`: only if it is in doubt. Raises NotFound, Refused."""
        place = keys.parse_message_id(message_id, self._records.partitions)
        [outcome] = await self._run([place], "doubt" if doubt else "one")
        if outcome.outcome == "unknown":
            raise NotFound("no such message")
        if outcome.outcome != "replayed":
            raise Refused(Problem(field="message", message=f"cannot be sent again: {outcome.reason}"))
        await self._records.audit(by, "replay", message_id, now_ms())
        return outcome

    async def arrived(self, message_id: str, *, by: str) -> LetterOutcome:
        """Staff know that a message in doubt did arrive. Raises NotFound, Refused."""
        p, local = keys.parse_message_id(message_id, self._records.partitions)
        reply = await self._records.scripts.run(self._records.scripts.arrived(p, now_ms(), local))
        if reply[0] == "unknown":
            raise NotFound("no such message")
        if reply[0] == "refused":
            raise Refused(Problem(field="message", message=f"cannot be marked as arrived: {reply[1]}"))
        await self._records.audit(by, "arrived", message_id, now_ms())
        return LetterOutcome(message=message_id, outcome="arrived")

    async def each(self, ids: Sequence[str], *, by: str) -> Replayed:
        """Replay these; outcomes in their order."""
        _check_most(len(ids))
        places: dict[str, keys.Local] = {}
        for message_id in ids:
            try:
                places[message_id] = keys.parse_message_id(message_id, self._records.partitions)
            except NotFound:
                continue
        await self._records.audit(by, "replay", f"{len(ids)} by id", now_ms())
        outcomes = await self._run(list(places.values()), "many")
        known = dict(zip(places, outcomes, strict=True))
        return _summary([known.get(id) or LetterOutcome(message=id, outcome="unknown") for id in ids], None)

    async def matching(
        self, only: DeadFilter, *, by: str, limit: int = REPLAY_MOST, after: str | None = None
    ) -> Replayed:
        """Replay up to `limit` that match, newest first, from `after` on."""
        _check_most(limit)
        outcomes: list[LetterOutcome] = []
        looked = 0
        start = self._dead.place(after) if after is not None else None
        async with aclosing(self._dead.matching(only, after=start)) as batches:
            async for batch in batches:
                chosen = [found.place for found in batch.found[: limit - len(outcomes)]]
                outcomes += await self._noted(chosen, only, by)
                looked += batch.looked
                if len(outcomes) == limit:
                    return _summary(outcomes, chosen[-1])
                if looked >= _LOOK_MOST:
                    return _summary(outcomes, batch.end)
        return _summary(outcomes, None)

    async def _noted(self, places: Sequence[Place], only: DeadFilter, by: str) -> list[LetterOutcome]:
        if not places:
            return []
        # Noted first, or what a lost connection ends half-way would be nobody's. A filter may hold what somebody
        # searched for, such as a phone.
        await self._records.audit(by, "replay", f"{len(places)}: {mask_text(str(only))}", now_ms())
        return await self._run([keys.Local(place.partition, place.local) for place in places], "many")

    async def _run(self, letters: Sequence[keys.Local], mode: str) -> list[LetterOutcome]:
        """Replay these, in one round trip a server; outcomes in their order."""
        now, scripts = now_ms(), self._records.scripts
        by_partition: dict[int, list[str]] = defaultdict(list)
        for p, local in letters:
            by_partition[p].append(local)
        parts = [
            (p, locals_[at : at + _AT_ONCE])
            for p, locals_ in by_partition.items()
            for at in range(0, len(locals_), _AT_ONCE)
        ]
        replies = await scripts.run_many(
            [scripts.replay(p, now, now + _VALID_MS, mode, part) for p, part in parts]
        )
        outcomes = {
            (p, local): _outcome(p, local, answer)
            for (p, part), reply in zip(parts, replies, strict=True)
            for local, answer in zip(part, reply, strict=True)
        }
        return [outcomes[p, local] for p, local in letters]


def _check_most(count: int) -> None:
    if not 1 <= count <= REPLAY_MOST:
        raise Refused(
            Problem(
                field="limit", message="is out of range", given=str(count), expected=f"1 to {REPLAY_MOST}"
            )
        )


def _outcome(p: int, local: str, answer: Sequence[str]) -> LetterOutcome:
    message = keys.message_id(p, local)
    match answer:
        case ["ok", made]:
            return LetterOutcome(message=message, outcome="replayed", replayed_as=keys.message_id(p, made))
        case ["closed", why]:
            return LetterOutcome(message=message, outcome="closed", reason=why)
        case ["refused", why]:
            return LetterOutcome(message=message, outcome="refused", reason=why)
        case _:
            return LetterOutcome(message=message, outcome="unknown")


def _summary(outcomes: list[LetterOutcome], place: Place | None) -> Replayed:
    counts = Counter(outcome.outcome for outcome in outcomes)
    return Replayed(
        replayed=counts["replayed"],
        closed=counts["closed"],
        refused=counts["refused"],
        letters=outcomes,
        next=str(place) if place else None,
    )
