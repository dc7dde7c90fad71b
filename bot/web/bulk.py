"""POST /v1/shares/bulk: rows streamed in, outcomes streamed out, in the memory of one batch.

Every row gets one outcome, in order. Rows are taken in batches as they arrive, so nothing is undone if the
connection breaks: rows with an outcome are on disk, the others can be sent again, and ids keep anything from
being taken twice. If reading cannot go on (too many rows, a sender that stalls, a store that went away), the last
outcome says from which row on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from bot.domain.bill import AcceptedShare
from bot.domain.share import ShareJob
from bot.errors import Problem, Refused, StoreUnavailable
from bot.web import problems
from bot.web.bodies import LIMITS
from bot.web.metrics import Metrics
from bot.web.problems import Rejected
from bot.web.rows import Csv, Ndjson, Reader, Row
from bot.web.spool import Spool

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

_BATCH = 500
_BREATH = 20  # rows decoded before others get their turn: a webhook must not wait for a campaign
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


Rows = AsyncGenerator["Row | None", None]
log = structlog.get_logger("tuma.web.bulk")


class RowOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one row. `status` is what POST /v1/shares would have answered for it."""

    row: int
    ok: bool
    status: int
    id: str | None = None
    share: AcceptedShare | None = None
    errors: tuple[Problem, ...] = ()


class Bulk:
    """Serves bulk requests."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics

    async def bulk(self, request: web.Request) -> web.StreamResponse:
        """Read rows and answer outcomes, both at once. Raises Rejected, Refused before the first outcome."""
        rows = _rows(request, _reader(request))
        async with aclosing(rows), aclosing(self._outcomes(request, rows)) as outcomes:
            first = await anext(outcomes, b"")
            if not first:
                raise Refused(Problem(field="$", message="holds no row", expected="one share a line"))
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            try:
                await _pump(first, outcomes, response)
            except Exception as error:
                raise _aborted(error) from error
        return response

    async def _outcomes(self, request: web.Request, rows: Rows) -> AsyncGenerator[bytes, None]:
        done = 0
        try:
            async for batch in _batches(rows, request.app[LIMITS].bulk_rows):
                yield await self._take(batch, done)
                done += len(batch)
        except (Rejected, StoreUnavailable) as error:
            if done == 0:
                raise
            yield self._broken_off(done + 1, error)

    async def _take(self, rows: list[Row], done: int) -> bytes:
        jobs = [await self._decode(row, at) for at, row in enumerate(rows)]
        good = [job for job in jobs if isinstance(job, ShareJob)]
        answers = iter(await self._engine.shares.accept_many(good))
        results = [next(answers) if isinstance(job, ShareJob) else job for job in jobs]
        outcomes = [
            _outcome(done + at, _id(row, job), result)
            for at, (row, job, result) in enumerate(zip(rows, jobs, results, strict=True), start=1)
        ]
        return self._encode(outcomes)

    async def _decode(self, row: Row, at: int) -> ShareJob | Refused:
        if at % _BREATH == 0:
            await asyncio.sleep(0)
        try:
            return row.job(self._settings)
        except Refused as refused:
            return refused

    def _broken_off(self, row: int, error: Rejected | StoreUnavailable) -> bytes:
        kind = error.kind if isinstance(error, Rejected) else "unavailable"
        problem = Problem(
            field="$", message=f"reading ended here: {error}", expected="this row and the rest again"
        )
        status = problems.KINDS[kind].status
        return self._encode([RowOutcome(row=row, ok=False, status=status, errors=(problem,))])

    def _encode(self, outcomes: list[RowOutcome]) -> bytes:
        for outcome in outcomes:
            self._metrics.rows.labels("accepted" if outcome.ok else "refused").inc()
        return msgspec.json.Encoder().encode_lines(outcomes)


def _reader(request: web.Request) -> Reader:
    if request.content_type in _NDJSON:
        return Ndjson()
    if request.content_type == "text/csv":
        return Csv()
    raise Rejected("unsupported-media-type", "send application/x-ndjson or text/csv")


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    """What arrives; an empty chunk whenever nothing more has arrived yet."""
    while True:
        chunk = request.content.read_nowait()
        if not chunk:
            yield b""
            chunk = await _next_chunk(request)
            if not chunk:
                return
        yield chunk


async def _next_chunk(request: web.Request) -> bytes:
    idle_s = request.app[LIMITS].bulk_idle_s
    try:
        async with asyncio.timeout(idle_s):
            return await request.content.readany()
    except TimeoutError as error:
        raise Rejected("too-slow", f"nothing came for {idle_s:g} seconds") from error
    except web.RequestPayloadError as error:
        raise Rejected("bad-request", "the body broke off or could not be decompressed") from error


async def _rows(request: web.Request, reader: Reader) -> Rows:
    """Every row; None whenever the sender pauses. Raises Rejected, Refused."""
    limits = request.app[LIMITS]
    size = 0
    async for chunk in _chunks(request):
        size += len(chunk)
        if size > limits.bulk_bytes:
            raise Rejected("too-large", f"at most {limits.bulk_bytes} bytes are taken in one request")
        for row in reader.feed(chunk):
            yield row
        if not chunk:
            yield None
    for row in reader.close():
        yield row


async def _batches(rows: Rows, most: int) -> AsyncIterator[list[Row]]:
    """Full batches while the sender is quick, what there is when it pauses. Raises Rejected, Refused."""
    batch: list[Row] = []
    count = 0
    try:
        async for row in rows:
            if row is not None:
                count += 1
                _check_count(count, most)
                batch.append(row)
            if batch and (row is None or len(batch) == _BATCH):
                yield batch
                batch = []
    except Rejected:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise Rejected("too-large", f"at most {most} rows are taken in one request")


def _outcome(row: int, share_id: str | None, result: AcceptedShare | Refused) -> RowOutcome:
    if isinstance(result, Refused):
        return RowOutcome(row=row, ok=False, status=result.status, id=share_id, errors=result.problems)
    return RowOutcome(row=row, ok=True, status=202, id=result.id, share=result)


def _id(row: Row, job: ShareJob | Refused) -> str | None:
    return job.id if isinstance(job, ShareJob) else row.given_id


async def _pump(first: bytes, outcomes: AsyncIterator[bytes], response: web.StreamResponse) -> None:
    spool = Spool()
    spool.put(first)
    async with asyncio.TaskGroup() as both:
        both.create_task(_send(spool, response))
        async for lines in outcomes:
            spool.put(lines)
        spool.end()


async def _send(spool: Spool, response: web.StreamResponse) -> None:
    async for piece in spool.pieces():
        await response.write(piece)
    await response.write_eof()


def _aborted(error: Exception) -> ConnectionError:
    """Nothing can be answered any more: the connection ends without its last chunk, which clients notice."""
    client_left = isinstance(error, ExceptionGroup) and error.split(ConnectionError)[1] is None
    if not client_left and not isinstance(error, ConnectionError):
        log.error("a bulk request broke off", error=type(error).__name__, exc_info=error)
    return ConnectionResetError("the bulk request broke off")
