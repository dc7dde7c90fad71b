"""The inbox: share jobs that any program adds to a stream, `XADD tuma:inbox * job '<share job JSON>'`.

An entry is acknowledged only when its share is accepted, or its refusal is on record in `tuma:rejected`; until then
another intake process takes it over. The claim by share id makes a second telling harmless.
"""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from bot.domain.share import ShareJob, decode
from bot.engine import keys
from bot.engine.control import streams
from bot.engine.records import Records
from bot.engine.shares import Shares
from bot.engine.store import guard
from bot.errors import Problem, Refused, StoreUnavailable
from bot.settings import Settings

_BATCH = 200
_BLOCK_MS = 1000
_TAKE_OVER_MS = 30_000
_log = structlog.get_logger(__name__)

Entry = tuple[str, str, dict[str, str]]


async def add(records: Records, job: str) -> str:
    """Put one share job (JSON text) into the inbox, as any program does; the entry's id."""
    with guard():
        entry: str = await records.client.xadd(keys.INBOX, {"job": job})
    return entry


class Inbox:
    """Reads the inbox streams until stopped."""

    def __init__(self, records: Records, shares: Shares, settings: Settings, consumer: str) -> None:
        self._records, self._shares, self._settings, self._consumer = records, shares, settings, consumer
        spread = isinstance(records.client, RedisCluster)
        self._streams = [keys.INBOX] + [keys.inbox(p) for p in range(records.partitions) if spread]

    async def run(self, stop: asyncio.Event) -> None:
        """Take jobs until `stop` is set."""
        while not stop.is_set():
            try:
                await self._group()
                while not stop.is_set():
                    await self._turn()
            except StoreUnavailable as error:
                _log.warning("intake_waits", error=str(error))
                await asyncio.sleep(1)
            except ResponseError as error:
                # The stream was deleted, or a replica that had no group yet took over: made again at once.
                if not str(error).startswith("NOGROUP"):
                    raise
                _log.warning("inbox_made_again")

    async def _turn(self) -> None:
        entries: list[Entry] = []
        for name in self._streams:
            entries += await self._lost(name)
        # On a cluster the streams live on different servers, so one call cannot wait for all of them.
        block = _BLOCK_MS if len(self._streams) == 1 else None
        for name in self._streams:
            entries += await self._fresh(name, block)
        if entries:
            await self.take(entries)
        elif block is None:
            await asyncio.sleep(_BLOCK_MS / 1000)

    async def _group(self) -> None:
        for name in self._streams:
            try:
                with guard():
                    await self._records.client.xgroup_create(name, keys.GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def _lost(self, name: str) -> list[Entry]:
        with guard():
            reply = await self._records.client.xautoclaim(
                name, keys.GROUP, self._consumer, _TAKE_OVER_MS, count=_BATCH
            )
        return [(name, entry, fields) for entry, fields in reply[1] if fields]

    async def _fresh(self, name: str, block: int | None) -> list[Entry]:
        with guard():
            reply = await self._records.client.xreadgroup(
                keys.GROUP, self._consumer, {name: ">"}, count=_BATCH, block=block
            )
        return [(name, entry, fields) for _, rows in streams(reply) for entry, fields in rows]

    async def take(self, entries: list[Entry]) -> None:
        """Accept or refuse entries (stream, entry id, fields), then acknowledge them."""
        jobs: list[tuple[Entry, ShareJob]] = []
        refused: list[tuple[Entry, Refused]] = []
        for entry in entries:
            try:
                jobs.append((entry, self._decode(entry[2])))
            except Refused as error:
                refused.append((entry, error))
        answers = await self._shares.accept_many(
            [job for _, job in jobs], [f"{entry[1]} {entry[2]['job']}" for entry, _ in jobs]
        )
        for (entry, _), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Refused):
                refused.append((entry, answer))
        for entry, refusal in refused:
            await self._reject(entry, refusal)
        await self._acknowledge(entries)

    def _decode(self, fields: dict[str, str]) -> ShareJob:
        job = fields.get("job")
        if job is None:
            raise Refused(
                Problem(
                    field="job", message="is missing", expected="XADD tuma:inbox * job '<share job JSON>'"
                )
            )
        if "\ufffd" in job:
            raise Refused(Problem(field="job", message="is not UTF-8", expected="JSON in UTF-8"))
        return decode(job, settings=self._settings)

    async def _reject(self, entry: Entry, error: Refused) -> None:
        await self._records.reject(entry[2].get("job", ""), error, entry[1])
        _log.info("job_rejected", entry=entry[1], fields=[problem.field for problem in error.problems])

    async def _acknowledge(self, entries: list[Entry]) -> None:
        with guard():
            pipe = self._records.client.pipeline()
            for name, entry, _ in entries:
                pipe.xack(name, keys.GROUP, entry)
                pipe.xdel(name, entry)
            await pipe.execute()
