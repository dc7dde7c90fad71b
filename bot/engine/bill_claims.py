"""Bills that tuma is asked to make without telling anybody: claimed by id like shares, on record once they exist."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from bot.domain.bill import BillKind
from bot.domain.bill_job import BillJob
from bot.domain.calendar import to_ms
from bot.domain.creation import NO_CLICKPESA, BillAnswer, BillState
from bot.domain.money import to_minor
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.scripts import text
from bot.errors import Conflict, NotFound, Problem, Refused
from bot.settings import Settings

LOOK_S = 0.05


class BillClaims:
    """The bills that are being made, in all partitions."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._records, self._settings = records, settings

    async def create(self, job: BillJob, *, wait_ms: int | None = None) -> BillAnswer:
        """Ask for one number; waits up to `wait_ms` (default: the setting) until it exists.

        Raises Conflict (the same id with other content), Refused (also when ClickPesa will not), StoreUnavailable.
        """
        [answer] = await self.create_many([job], lane="u")
        if isinstance(answer, Refused):
            raise answer
        if answer.state == "creating":
            answer = await self.settled(
                job.id, self._settings.create_answer_ms if wait_ms is None else wait_ms
            )
        if answer.state == "refused":
            raise Refused(Problem(field="create", message=answer.reason or "was refused"))
        return answer

    async def create_many(self, jobs: Sequence[BillJob], *, lane: str = "b") -> list[BillAnswer | Refused]:
        """Ask for many numbers in one round trip; answers stand in the order of the jobs."""
        if not self._settings.makes_numbers:
            return [Refused(NO_CLICKPESA) for _ in jobs]
        scripts = self._records.scripts
        names = [keys.bill_claim(job.id) for job in jobs]
        claims = await scripts.run_many(
            [
                scripts.claim(self._records.partition(name), name, job.digest, "", _encoded(job), lane=lane)
                for name, job in zip(names, jobs, strict=True)
            ]
        )
        await scripts.reached({keys.prefix(self._records.partition(name)): None for name in names})
        return [await self._answer(job, state) for job, (state, _, _) in zip(jobs, claims, strict=True)]

    async def _answer(self, job: BillJob, state: str) -> BillAnswer | Refused:
        if state == "conflict":
            expected = "an id that is not used yet, or what was first sent with this one"
            message = "was used before for a bill with other content"
            return Conflict(Problem(field="id", message=message, given=job.id[:60], expected=expected))
        if state == "new":
            return BillAnswer(id=job.id, state="creating", number="", kind=job.bill.kind)
        return msgspec.structs.replace(await self.state(job.id), repeated=True)

    async def state(self, bill_id: str) -> BillAnswer:
        """What became of a bill. Raises NotFound."""
        name = keys.bill_claim(bill_id)
        claim = await self._records.claim(name)
        if not claim:
            raise NotFound(f"no bill was asked for as {bill_id}")
        kind, state = BillKind(claim["kind"]), claim["st"]
        if state == "refused":
            return BillAnswer(id=bill_id, state="refused", number="", kind=kind, reason=claim["why"])
        if state != "done":
            return BillAnswer(id=bill_id, state="creating", number="", kind=kind)
        account = await self._records.account(claim["num"])
        stands: BillState = views.status(account).value
        return BillAnswer(id=bill_id, state=stands, number=claim["num"], kind=kind)

    async def settled(self, bill_id: str, wait_ms: int) -> BillAnswer:
        """The same, as soon as it is made or refused, or when the time is up."""
        until = time.monotonic() + wait_ms / 1000
        while True:
            answer = await self.state(bill_id)
            if answer.state != "creating" or time.monotonic() >= until:
                return answer
            await asyncio.sleep(LOOK_S)

    async def complete(self, p: int, claim_name: str, encoded: str) -> None:
        """The number of an open claim exists: put the bill on record. May be repeated."""
        job, scripts = msgspec.json.decode(encoded, type=BillJob), self._records.scripts
        claim = await self._records.claim(claim_name)
        name = text(job.customer.name if job.customer else None)
        bill = {
            "kind": str(job.bill.kind),
            "cur": job.bill.currency,
            "term": job.bill.term,
            "amount": str(to_minor(job.bill.amount, job.bill.currency)),
            "mode": str(job.bill.mode),
            "due": str(to_ms(job.bill.due_at)) if job.bill.due_at else "",
            "desc": text(job.bill.description),
            "name": name,
            "index": name.casefold(),
        }
        await scripts.run(scripts.open_bill(p, claim["num"], bill))
        await scripts.run(scripts.confirm(p, claim_name, claim["sid"], accepted=claim["sid"]))


def _encoded(job: BillJob) -> str:
    return msgspec.json.encode(job).decode()
