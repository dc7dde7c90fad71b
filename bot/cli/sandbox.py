"""`tuma sandbox`: local providers, what goes wrong at them, and a replay of one's own bills on them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli import runtime
from bot.cli.output import FAILED, Failed, JsonFlag, emit, say, table
from bot.cli.serve import stopped_by_signals

if TYPE_CHECKING:
    from bot.replay import Options
    from bot.sandbox.faults import Faults
    from bot.settings import Settings

app = typer.Typer(invoke_without_command=True)
_SERVERS = ("twilio", "africastalking", "telegram", "clickpesa", "smtp", "page")

_FAULT = re.compile(
    r"(?P<provider>[a-z]+):(?P<kind>[a-z0-9-]+)=(?P<much>next:\d+|[\d.]+%?)(?:@(?P<contact>.+))?"
)
_FAULT_HELP = (
    "A fault by rate (twilio:timeout-after=0.05), for the next requests (smtp:drop-after=next:2), for one contact "
    "(telegram:forbidden=1@700000044). Names: tuma sandbox faults."
)
Profile = Annotated[
    str | None, typer.Option(metavar="NAME|FILE.toml", help="Faults by rate. Names: tuma sandbox faults.")
]
Seed = Annotated[int | None, typer.Option(help="Number that the faults follow from. Default: a new one.")]


@app.callback()
def sandbox_command(
    ctx: typer.Context,
    tuma: Annotated[
        str | None, typer.Option(metavar="URL", help="Where tuma is, for its webhooks. Default: TUMA_LISTEN.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PORT",
            help="twilio, africastalking, telegram, clickpesa, smtp or page; else the usual one (8100 to 8105), or any "
            "free one where that is taken. 0: any free one.",
        ),
    ] = None,
    no_checksum: Annotated[
        bool, typer.Option("--no-checksum", help="ClickPesa sends webhooks unsigned.")
    ] = False,
    profile: Profile = None,
    seed: Seed = None,
    fault: Annotated[list[str] | None, typer.Option(metavar="FAULT", help=_FAULT_HELP)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run local servers that act like the SMS gateways, Telegram, ClickPesa and mail.

    The first line says where they are. With --json, or where the output is no terminal, it is one JSON object with the
    base URLs twilio, africastalking, telegram, clickpesa, smtp and page, the credentials they accept, and the settings
    that point tuma there. These stay the same from one start to the next.
    """
    import asyncio

    if ctx.invoked_subcommand is not None:
        return
    faults = _faults(profile, seed, fault or [])
    ports = _ports(port or [])
    settings = runtime.settings()
    runtime.quiet_logs(settings)
    where = tuma or f"http://{settings.listen}"
    try:
        asyncio.run(
            _sandbox(
                as_json, faults, host=host, ports=ports, tuma=where, checksum=not no_checksum,
                folder=settings.data_dir.absolute() / "sandbox",
            )
        )  # fmt: skip
    except OSError as error:
        raise Failed(f"the sandbox cannot start: {error}") from error


@app.command("replay")
def replay_command(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="CSV, XLSX or NDJSON, as for tuma share.")],
    profile: Profile = "bad-day",
    seed: Seed = None,
    paid: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of customers who pay, 0 to 1.")] = 0.5,
    sms_price: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Price of one SMS segment. Default: TUMA_PRICES.")
    ] = None,
    whatsapp_price: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Price of one WhatsApp message. Default: TUMA_PRICES."),
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of an XLSX file. Default: the first.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Play a file of bills on local providers, and see texts, costs and outcomes.

    A temporary tuma with your templates and settings plays the file from the first message to the last reminder, in
    compressed time; some customers pay. Nothing leaves this machine, and your own data is not touched. Exit code 1: a
    row was refused, or tuma broke a promise (a message lost, sent twice unflagged, or sent after payment).
    """
    settings = _priced(runtime.settings(), sms=sms_price, whatsapp=whatsapp_price)
    options = _options(profile, seed, paid, settings)
    path = None if file == "-" else Path(file)
    if path is not None and not path.is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE|-")
    from bot.cli.replaying import replay_file

    runtime.quiet_logs(settings)
    if not replay_file(path, sheet, first, settings, options, as_json=as_json):
        raise typer.Exit(FAILED)


@app.command("faults")
def faults_command(as_json: JsonFlag = False) -> None:
    """List the faults of every provider, and the profiles."""
    from bot.sandbox.fault_kinds import KINDS
    from bot.sandbox.profiles import profiles

    if as_json:
        emit(
            {
                "faults": {p: {k.name: k.words for k in kinds.values()} for p, kinds in KINDS.items()},
                "profiles": {each.name: each.about for each in profiles().values()},
            }
        )
        return
    rows = [(provider, kind.name, kind.words) for provider, kinds in KINDS.items() for kind in kinds.values()]
    table(("Provider", "Fault", "What happens"), rows)
    table(("Profile", "About"), [(each.name, each.about) for each in profiles().values()])


@app.command("fault")
def fault_command(
    page: Annotated[str, typer.Argument(metavar="PAGE", help="Address of the running sandbox's page.")],
    faults: Annotated[list[str] | None, typer.Argument(metavar="FAULT...", help=_FAULT_HELP)] = None,
    profile: Profile = None,
    seed: Seed = None,
    clear: Annotated[bool, typer.Option("--clear", help="First end every fault there is.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change what goes wrong at a sandbox that runs."""
    wanted: list[tuple[str, dict[str, Any]]] = [("faults/clear", {})] if clear else []
    if profile is not None:
        wanted.append(("profile", {"name": profile, "seed": seed}))
    wanted += [("faults", _asked(text)) for text in faults or []]
    if not wanted:
        raise typer.BadParameter("give a fault, --profile or --clear", param_hint="FAULT")
    for path, body in wanted:
        _post(f"{page.rstrip('/')}/api/{path}", body)
    if as_json:
        emit({"ok": True})
    else:
        say("Done.")


async def _sandbox(as_json: bool, faults: Faults, **places: Any) -> None:
    import asyncio

    from bot.sandbox.city import USUAL_PORTS, main

    stop = asyncio.Event()
    json, words = as_json or not sys.stdout.isatty(), not as_json
    with stopped_by_signals(stop):  # before the first line is out, for whoever waits for it
        await main(json, words=words, usual=USUAL_PORTS, faults=faults, stop=stop, **places)


def _ports(pairs: list[str]) -> dict[str, int]:
    ports = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if name not in _SERVERS or not number.isdigit():
            raise typer.BadParameter("expected NAME=PORT, such as page=8100", param_hint="--port")
        ports[name] = int(number)
    return ports


def _faults(profile: str | None, seed: int | None, wanted: list[str]) -> Faults:
    from bot.sandbox.faults import Faults
    from bot.sandbox.profiles import find

    faults = Faults(seed=seed)
    try:
        if profile is not None:
            faults.use(find(profile))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from error
    try:
        for text in wanted:
            asked = _asked(text)
            about = (asked["provider"], asked["kind"])
            if "next" in asked:
                faults.next(*about, asked["next"], asked["contact"])
            else:
                faults.rate(*about, asked["rate"], asked["contact"])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from error
    return faults


def _asked(text: str) -> dict[str, Any]:
    """A fault as the command line writes it, as the page's HTTP interface wants it."""
    match = _FAULT.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text}: expected PROVIDER:FAULT=RATE or PROVIDER:FAULT=next:N, then perhaps @CONTACT",
            param_hint="FAULT",
        )
    found: dict[str, Any] = {name: match[name] for name in ("provider", "kind", "contact")}
    kind, _, count = match["much"].partition(":")
    return found | ({"next": int(count)} if kind == "next" else {"rate": _rate(match["much"])})


def _rate(text: str) -> float:
    try:
        return float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is not a rate, such as 0.05 or 5%", param_hint="FAULT") from error


def _options(profile: str | None, seed: int | None, paid: float, settings: Settings) -> Options:
    from bot.replay import Options
    from bot.sandbox.profiles import find

    try:
        weather = find(profile or "calm")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from error
    import secrets

    return Options(
        profile=weather,
        seed=secrets.randbelow(10**6) if seed is None else seed,
        paying=paid,
        sms_price=settings.price("sms"),
        whatsapp_price=settings.price("whatsapp"),
    )


def _priced(settings: Settings, **given: str | None) -> Settings:
    """The settings with the prices of the command line, which count for the cost cap too."""
    prices = {name: _price(text, f"--{name}-price") for name, text in given.items() if text is not None}
    return replace(settings, prices=tuple({**dict(settings.prices), **prices}.items()))


def _price(text: str, option: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0:
        raise typer.BadParameter("expected an amount, such as 25 or 22.50", param_hint=option)
    return price


def _post(url: str, body: dict[str, Any]) -> None:
    import httpx

    try:
        answer = httpx.post(url, json=body, timeout=10)
        told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Failed(f"there is no sandbox at {url}: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise Failed(str(told.get("error", f"the sandbox answered {answer.status_code}")))
