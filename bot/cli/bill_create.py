"""`tuma bill create`: make control numbers, one or a file of them, without telling anybody yet."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from bot.cli import runtime
from bot.cli.output import FAILED, JsonFlag, Misused, beside_file, emit, note, say
from bot.domain.bill import BillKind
from bot.errors import Refused

if TYPE_CHECKING:
    from bot.cli.columns import Row
    from bot.cli.files import Source
    from bot.cli.intake import Repeats
    from bot.cli.rejects import ErrorsFile
    from bot.domain.bill_job import BillJob
    from bot.domain.creation import BillAnswer
    from bot.engine.engine import Engine
    from bot.settings import Settings

_BATCH = 200
_UNNAMED = "unnamed"


def create_command(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|-", help="CSV, XLSX or NDJSON: kind amount description due_at mode name ..."
        ),
    ] = None,
    kind: Annotated[
        BillKind | None, typer.Option(help="order (one payment) or customer (one payer, many payments).")
    ] = None,
    amount: Annotated[str | None, typer.Option(help="Amount, such as 45000.")] = None,
    description: Annotated[str | None, typer.Option(help="What the bill is for.")] = None,
    due_at: Annotated[str | None, typer.Option(help="When it is due, such as 2026-12-01.")] = None,
    mode: Annotated[str | None, typer.Option(help="exact, or partial (default).")] = None,
    term: Annotated[str | None, typer.Option(help="Names the first bill. Default: 1.")] = None,
    name: Annotated[str | None, typer.Option(help="The customer's name; a customer number needs it.")] = None,
    phone: Annotated[str | None, typer.Option(help="Their phone, such as 0754123456.")] = None,
    email: Annotated[str | None, typer.Option(help="Their mail address.")] = None,
    bill_id: Annotated[str | None, typer.Option("--id", help="Your own id of this bill.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of an XLSX file. Default: the first.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a control number at ClickPesa, or one for each row of a file.

    One: tuma bill create --kind order --amount 45000 --description "Term 2 fees"

    Many: tuma bill create bills.csv --kind order. Up to 50 are made in one call. Rows that are refused are written to
    FILE.errors.csv (or .ndjson) with the reason; correct them there and create from that file.

    A row without an id gets one made from its content, so that a file that is given twice makes nothing twice. A row
    that repeats one before it is refused: give it an id if it is another bill.
    """
    cells = {"amount": amount, "description": description, "due_at": due_at, "mode": mode, "term": term,
             "name": name, "phone": phone, "email": email, "id": bill_id}  # fmt: skip
    given = {key: value for key, value in cells.items() if value is not None}
    if file is not None and given:
        raise beside_file(list(given))
    if file is None and not given:
        raise typer.BadParameter("give a file, or --kind with --amount", param_hint="FILE|-")
    settings = runtime.settings()
    if not settings.makes_numbers:
        from bot.domain.creation import NO_CLICKPESA

        raise Misused(NO_CLICKPESA)
    if file is None:
        _one(given, kind, settings, as_json)
    else:
        _file(file, sheet, kind, settings, as_json)


def _one(cells: dict[str, str], kind: BillKind | None, settings: Settings, as_json: bool) -> None:
    from bot.domain.bill_job import bill_row

    try:
        job = _named(bill_row({"id": _UNNAMED, **cells}, kind, settings=settings))
    except Refused as refused:
        raise Misused(*refused.problems) from refused
    answer = runtime.with_engine(lambda engine: _create(engine, job), settings)
    if as_json:
        emit(answer)
    elif answer.state == "creating":
        say(f"It waits for ClickPesa; `tuma up` goes on with it (bill {answer.id}).")
    else:
        again = " It was made before." if answer.repeated else ""
        say(f"{answer.number} ({answer.kind}) is made.{again} Share it:")
        say(f"  {_share_command(answer, cells)}")


def _share_command(answer: BillAnswer, cells: dict[str, str]) -> str:
    """What sends the bill to whom it was made for, to be run as it stands; PHONE where nobody was named."""
    given = {"number": answer.number}
    if answer.kind is not BillKind.ORDER:  # what a share takes a number for
        given["kind"] = answer.kind
    given |= {name: cells[name] for name in ("amount", "term", "due_at", "phone", "email") if name in cells}
    if not {"phone", "email"} & given.keys():
        given["phone"] = "PHONE"
    options = (f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in given.items())
    return f"tuma share {' '.join(options)}"


def _named(job: BillJob) -> BillJob:
    """A bill without an id gets its content's fingerprint as one."""
    return job if job.id != _UNNAMED else msgspec.structs.replace(job, id=f"auto-{job.digest[:32]}")


async def _create(engine: Engine, job: BillJob) -> BillAnswer:
    from bot.cli.making import PATIENCE_MS, making

    async with making(engine):
        return await engine.bill_claims.create(job, wait_ms=PATIENCE_MS)


def _file(file: str, sheet: str | None, kind: BillKind | None, settings: Settings, as_json: bool) -> None:
    import asyncio

    from bot.cli.files import open_source

    path = None if file == "-" else Path(file)
    with open_source(path, sheet) as source:
        for line in source.notes:
            note(line)
        passed = asyncio.run(_send(path, source, kind, settings, as_json))
    if not passed:
        raise typer.Exit(FAILED)


@dataclass
class _Creating:
    """One run over one file."""

    engine: Engine
    rejects: ErrorsFile
    kind: BillKind | None
    as_json: bool
    repeats: Repeats
    tally: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, Row] = field(default_factory=dict)

    async def take(self, batch: list[Row]) -> None:
        """Ask for the numbers of a batch."""
        judged = [(row, self._judge(row)) for row in batch]
        good = [job for _, job in judged if not isinstance(job, Refused)]
        answers = iter(await self.engine.bill_claims.create_many(good))
        for row, job in judged:
            self._note(row, job if isinstance(job, Refused) else next(answers))

    def _judge(self, row: Row) -> BillJob | Refused:
        try:
            if row.problem is not None:
                raise Refused(row.problem)
            job = _named(self._read(row))
            self.repeats.check(row, job.id)
        except Refused as refused:
            return refused
        return job

    def _read(self, row: Row) -> BillJob:
        from bot.domain.bill_job import bill_job, bill_row

        settings = self.engine.settings
        if row.cells is not None:
            cells = {**row.cells, "id": row.cells.get("id", "").strip() or _UNNAMED}
            return bill_row(cells, self.kind, settings=settings)
        fields: dict[str, Any] = {"id": _UNNAMED, "create": self.kind, **(row.job or {})}
        return bill_job(fields, settings=settings)

    def _note(self, row: Row, answer: BillAnswer | Refused) -> None:
        if not isinstance(answer, Refused) and answer.state == "creating":
            self.waiting[answer.id] = row
        else:
            self._report(row, answer)

    def _report(self, row: Row, answer: BillAnswer | Refused) -> None:
        from bot.cli.intake import refusal
        from bot.cli.progress import show_refusal
        from bot.errors import Problem

        if not isinstance(answer, Refused) and answer.state == "refused":
            answer = Refused(Problem(field="create", message=answer.reason or "was refused"))
        if not isinstance(answer, Refused):
            self.tally["before" if answer.repeated else "made"] += 1
            shown = {"row": row.number, "ok": True, "errors": [], **msgspec.to_builtins(answer)}
            if self.as_json:
                emit(shown)
            else:
                say(f"{answer.number}  row {row.number}")
            return
        found = refusal(row, answer)
        self.rejects.add(row, found.errors)
        if self.as_json:
            emit(found)
        else:
            show_refusal(found, self.rejects.count)

    async def follow(self) -> None:
        """Report rows as their numbers are made or refused."""
        from bot.cli.making import outcomes
        from bot.cli.progress import progress

        with progress(len(self.waiting)) as advance:
            found: AsyncIterator[tuple[str, BillAnswer]] = outcomes(self._settled, self.waiting)
            async for bill_id, answer in found:
                self._report(self.waiting.pop(bill_id), answer)
                advance(1)

    async def _settled(self, bill_id: str) -> BillAnswer | None:
        answer = await self.engine.bill_claims.state(bill_id)
        return None if answer.state == "creating" else answer

    def sum_up(self) -> None:
        """Say how many were made, and where the rest is."""
        line = f"{self.tally['made']} made, {self.tally['before']} made before, {self.rejects.count} refused."
        if self.waiting:
            line += f" {len(self.waiting)} wait for ClickPesa; `tuma up` goes on with them."
        if self.rejects.count:
            line += f" {self.rejects.told}"
        note(line)


async def _send(
    path: Path | None, source: Source, kind: BillKind | None, settings: Settings, as_json: bool
) -> bool:
    from bot.cli.intake import Repeats
    from bot.cli.making import making
    from bot.cli.rejects import ErrorsFile

    with ErrorsFile(path, source) as rejects:
        async with runtime.open_engine(settings) as engine, making(engine):
            creating = _Creating(engine, rejects, kind, as_json, Repeats())
            for batch in _batches(source.rows()):
                await creating.take(batch)
            await creating.follow()
    creating.sum_up()
    return not rejects.count


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
