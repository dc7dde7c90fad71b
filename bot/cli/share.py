"""`tuma share`: hand in one bill, or a file of them; with --dry-run only look at what would be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import FAILED, JsonFlag, Misused, beside_file, emit, note, say
from bot.errors import Refused

if TYPE_CHECKING:
    from bot.cli.files import Source
    from bot.cli.preview import Preview
    from bot.domain.bill import AcceptedShare
    from bot.domain.share import ShareJob
    from bot.engine.engine import Engine
    from bot.settings import Settings

_FILE_HELP = (
    "CSV, XLSX or NDJSON file, or - for stdin. Columns: id number create kind term amount currency description due_at "
    "mode name phone email telegram locale channels route template additional_contact; any other becomes data."
)


def share_command(
    file: Annotated[str | None, typer.Argument(metavar="FILE|-", help=_FILE_HELP)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show what would be sent.")
    ] = False,
    sheet: Annotated[str | None, typer.Option(help="Sheet of an XLSX file. Default: the first.")] = None,
    number: Annotated[str | None, typer.Option(help="One bill: its control number.")] = None,
    amount: Annotated[str | None, typer.Option(help="Amount, such as 45000.")] = None,
    phone: Annotated[str | None, typer.Option(help="Customer's phone, such as 0754123456.")] = None,
    email: Annotated[str | None, typer.Option(help="Customer's mail address.")] = None,
    telegram: Annotated[str | None, typer.Option(help="Customer's Telegram chat id.")] = None,
    name: Annotated[str | None, typer.Option(help="Customer's name.")] = None,
    locale: Annotated[str | None, typer.Option(help="Customer's language: sw or en.")] = None,
    description: Annotated[str | None, typer.Option(help="What the bill is for.")] = None,
    due_at: Annotated[str | None, typer.Option(help="When it is due, such as 2026-12-01.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of number: order or customer.")] = None,
    create: Annotated[
        str | None, typer.Option(help="Instead of --number: make one, order or customer.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="exact, or partial (default).")] = None,
    term: Annotated[str | None, typer.Option(help="Tells bills of one number apart.")] = None,
    currency: Annotated[str | None, typer.Option(help="Default: TZS.")] = None,
    channels: Annotated[str | None, typer.Option(help='Such as "whatsapp sms".')] = None,
    route: Annotated[str | None, typer.Option(help="first (default) or all.")] = None,
    template: Annotated[str | None, typer.Option(help="Template set.")] = None,
    share_id: Annotated[str | None, typer.Option("--id", help="Your own id of this share.")] = None,
    additional_contact: Annotated[
        bool, typer.Option("--additional-contact", help="Tell a second person of a number.")
    ] = False,
    data: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Value for your template.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Send a bill, or a file of bills, to the customers.

    One: tuma share --number 55042914871931 --amount 45000 --phone 0754123456

    Many: tuma share bills.xlsx --dry-run, then tuma share bills.xlsx. Rows that are refused are written to
    FILE.errors.csv (or .ndjson) with the reason; correct them there and send that file. A file of that name is
    never overwritten: the next one is FILE.errors-2.csv.

    Rows are counted as a spreadsheet shows them: the line of column names is row 1. NDJSON counts lines from 1.

    A row without an id gets one made from its content, so that the same row sent twice reaches the customer and
    bills them once. To send the same again on purpose, give it another id.
    """
    cells = {
        "number": number, "amount": amount, "phone": phone, "email": email, "telegram": telegram, "name": name,
        "locale": locale, "description": description, "due_at": due_at, "kind": kind, "create": create, "mode": mode,
        "term": term,
        "currency": currency, "channels": channels, "route": route, "template": template, "id": share_id,
        "additional_contact": "true" if additional_contact else None,
    }  # fmt: skip
    given = {key: value for key, value in cells.items() if value is not None}
    if file is not None and (given or data):
        raise beside_file([*given, *(["data"] if data else [])])
    given |= _pairs(data or [])
    if file is None and not given:
        raise typer.BadParameter("give a file, or --number with --amount and a contact", param_hint="FILE|-")
    settings = runtime.settings()
    if file is None:
        _share_one(given, settings, dry_run=dry_run, as_json=as_json)
    else:
        _share_file(_path(file), sheet, settings, dry_run=dry_run, as_json=as_json)


def _path(file: str) -> Path | None:
    if file == "-":
        return None
    if not Path(file).is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE|-")
    return Path(file)


def _pairs(data: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in data]
    if any(not key or not separator for key, separator, _ in pairs):
        raise typer.BadParameter("expected KEY=VALUE, such as student=Juma", param_hint="--data")
    return {key: value for key, _, value in pairs}


def _share_one(cells: dict[str, str], settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    from bot.cli.intake import from_cells
    from bot.cli.rehearsal import open_previewer

    try:
        job = from_cells(cells, settings, one=True)
    except Refused as refused:
        raise Misused(*refused.problems) from refused
    previewer = open_previewer(settings)
    if dry_run:
        _show_one(previewer.preview(job), as_json)
        return
    previewer.check(job)
    accepted = runtime.with_engine(lambda engine: _accept(engine, job), settings)
    if as_json:
        emit(accepted)
    else:
        say(_accepted_line(accepted))


def _show_one(preview: Preview, as_json: bool) -> None:
    from bot.cli.rehearsal import as_fields, print_texts

    if as_json:
        emit(as_fields(1, preview))
    else:
        print_texts(preview)


async def _accept(engine: Engine, job: ShareJob) -> AcceptedShare:
    from bot.cli.making import PATIENCE_MS, making

    if job.bill.number is not None:
        return await engine.shares.accept(job)
    async with making(engine):
        return await engine.shares.accept_and_wait(job, PATIENCE_MS)


def _accepted_line(accepted: AcceptedShare) -> str:
    if accepted.state == "creating":
        return f"Its control number waits for ClickPesa; `tuma up` goes on with it (share {accepted.id})."
    skipped = "".join(f"; {one.channel} skipped ({one.reason})" for one in accepted.skipped)
    if accepted.repeated:
        return (
            f"{accepted.number}: this share was accepted before; nothing is sent again (share {accepted.id})."
        )
    if accepted.settled:
        return f"{accepted.number} is paid already; a receipt follows (share {accepted.id})."
    return f"{accepted.number} goes out over {', '.join(accepted.channels)}{skipped} (share {accepted.id})."


def _share_file(
    path: Path | None, sheet: str | None, settings: Settings, *, dry_run: bool, as_json: bool
) -> None:
    from bot.cli.files import open_source

    with open_source(path, sheet) as source:
        for line in source.notes:
            note(line)
        passed = (_rehearse if dry_run else _send)(path, source, settings, as_json)
    if not passed:
        raise typer.Exit(FAILED)


def _rehearse(path: Path | None, source: Source, settings: Settings, as_json: bool) -> bool:
    from bot.cli.rehearsal import rehearse

    return rehearse(source, settings, as_json)


def _send(path: Path | None, source: Source, settings: Settings, as_json: bool) -> bool:
    import asyncio

    from bot.cli.sending import send

    return asyncio.run(send(path, source, settings, as_json))
