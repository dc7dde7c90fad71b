"""A file of bills handed to the engine, batch by batch.

What was accepted is on disk before the next batch is read. A file that is sent again, after a crash or by mistake,
sends nothing twice, because every row has an id, its own or its content's. Refused rows go to the errors file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

from bot.cli import runtime
from bot.cli.columns import Row
from bot.cli.files import Source
from bot.cli.intake import Repeats, job_of, refusal
from bot.cli.making import making, outcomes
from bot.cli.output import Failed, emit, note, say
from bot.cli.preview import Previewer
from bot.cli.progress import progress, show_refusal
from bot.cli.rehearsal import open_previewer
from bot.cli.rejects import ErrorsFile
from bot.domain.bill import AcceptedShare
from bot.domain.share import ShareJob
from bot.engine.engine import Engine
from bot.errors import Refused, StoreUnavailable
from bot.settings import Settings

_BATCH = 500


@dataclass
class _Sending:
    """One run over one file."""

    engine: Engine
    previewer: Previewer
    rejects: ErrorsFile
    settings: Settings
    as_json: bool
    tally: Counter[str] = field(default_factory=Counter)
    # With whether it was there before this run: what becomes of it later is always a repeat.
    creating: dict[str, tuple[Row, bool]] = field(default_factory=dict)
    repeats: Repeats = field(default_factory=Repeats)

    async def take(self, batch: list[Row]) -> None:
        """Hand a batch in and report every row of it. Raises Failed when Redis is away."""
        judged = [(row, self._judge(row)) for row in batch]
        answers = iter(await self._accept([job for _, job in judged if isinstance(job, ShareJob)], batch[0]))
        for row, job in judged:
            self._report(row, next(answers) if isinstance(job, ShareJob) else job)

    def _judge(self, row: Row) -> ShareJob | Refused:
        try:
            job = job_of(row, self.settings)
            self.previewer.check(job)
            if job.bill.number is None:
                self.repeats.check(row, job.id)
        except Refused as refused:
            return refused
        return job

    async def _accept(self, jobs: list[ShareJob], first: Row) -> list[AcceptedShare | Refused]:
        try:
            return await self.engine.shares.accept_many(jobs)
        except StoreUnavailable as error:
            taken = self.tally["accepted"] + self.tally["repeated"]
            raise Failed(
                f"stopped at row {first.number}: {error}. {taken} row(s) before it are accepted. "
                "Send the file again: what is accepted is not sent twice."
            ) from error

    def _report(self, row: Row, answer: AcceptedShare | Refused) -> None:
        if isinstance(answer, AcceptedShare) and answer.state == "creating":
            self.creating[answer.id] = (row, answer.repeated)
        elif isinstance(answer, AcceptedShare):
            self.tally["repeated" if answer.repeated else "accepted"] += 1
            if self.as_json:
                emit({"row": row.number, "ok": True, "errors": [], **msgspec.to_builtins(answer)})
        else:
            self._refused(row, answer)

    def _refused(self, row: Row, answer: Refused) -> None:
        found = refusal(row, answer)
        self.rejects.add(row, found.errors)
        if self.as_json:
            emit(found)
        else:
            show_refusal(found, self.rejects.count)

    async def follow(self) -> None:
        """Report rows as their control numbers are made or refused, for as long as any are."""
        with progress(len(self.creating)) as advance:
            found: AsyncIterator[tuple[str, AcceptedShare | Refused]] = outcomes(
                self.engine.shares.made, self.creating
            )
            async for share_id, answer in found:
                row, repeated = self.creating.pop(share_id)
                if isinstance(answer, AcceptedShare):
                    answer = msgspec.structs.replace(answer, repeated=repeated)
                self._report(row, answer)
                advance(1)
        for share_id, (row, _) in self.creating.items():
            self.tally["creating"] += 1
            if self.as_json:
                emit({"row": row.number, "ok": True, "errors": [], "id": share_id, "state": "creating"})

    def sum_up(self) -> None:
        """Say how many were taken, and where the rest is."""
        accepted, repeated, refused = self.tally["accepted"], self.tally["repeated"], self.rejects.count
        line = f"{accepted} accepted, {repeated} accepted before, {refused} refused."
        if waiting := self.tally["creating"]:
            line += f" {waiting} wait for a control number of ClickPesa; `tuma up` goes on with them."
        if refused:
            line += f" {self.rejects.told}"
        if self.as_json:
            note(line)
        else:
            say(line)


async def send(path: Path | None, source: Source, settings: Settings, as_json: bool) -> bool:
    """Hand in every row of `source`; whether all were accepted. Raises Failed, StoreUnavailable, ConfigError."""
    previewer = open_previewer(settings)
    if previewer.nothing_on:
        note("No channel is set up here, so nothing can be sent. See `tuma doctor`.")
    tally: Counter[str] = Counter()
    with ErrorsFile(path, source) as rejects:
        try:
            async with runtime.open_engine(settings) as engine:
                sending = _Sending(engine, previewer, rejects, settings, as_json, tally)
                runtime.collect_only_new()
                async with making(engine):
                    with progress(source.total) as advance:
                        for batch in _batches(source.rows()):
                            await sending.take(batch)
                            _heed_interruption()
                            advance(len(batch))
                    await sending.follow()
        except asyncio.CancelledError as error:  # Ctrl-C
            raise _interrupted(tally, rejects) from error
    sending.sum_up()
    return not rejects.count


def _heed_interruption() -> None:
    """Raise CancelledError if Ctrl-C was pressed: `asyncio.wait_for` of Python 3.11, in the Redis client, can lose it.

    Source: https://github.com/python/cpython/issues/86296, mended in Python 3.12.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _interrupted(tally: Counter[str], rejects: ErrorsFile) -> Failed:
    """What is said after Ctrl-C; of the batch that was on its way nobody knows, so the number is a least one."""
    taken = tally["accepted"] + tally["repeated"]
    line = (
        f"interrupted. At least {taken} row(s) are accepted; send the same file again: nothing is sent twice."
    )
    return Failed(f"{line} {rejects.told}" if rejects.count else line)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
