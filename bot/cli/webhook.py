"""`tuma webhook`: sign and send payment webhooks as ClickPesa does, to try an integration without money.

Source: docs.clickpesa.com/home/webhooks (payload shapes), docs.clickpesa.com/home/checksum (checksum).
"""

from __future__ import annotations

import secrets
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from bot.cli import runtime
from bot.cli.output import FAILED, Failed, JsonFlag, Misused, emit, note, say
from bot.errors import ConfigError, Problem, Refused

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer(help="Sign and send payment webhooks as ClickPesa does.", no_args_is_help=True)

_TIMEOUT_S = 15.0


class Event(StrEnum):
    """What happened to the payment."""

    RECEIVED = "received"
    FAILED = "failed"


@app.command("sign")
def sign_command(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="The payload as JSON, or - to read it from stdin.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Print the checksum of a ClickPesa payload under CLICKPESA_CHECKSUM_KEY.

    Members checksum and checksumMethod of the payload are left out, as ClickPesa does.
    """
    checksum = _checksum(_read(file), _key(runtime.settings()))
    if as_json:
        emit({"checksum": checksum, "checksumMethod": "canonical"})
    else:
        say(checksum)


@app.command("send")
def send_command(
    event: Annotated[Event, typer.Argument(metavar="EVENT", help="What happened: received or failed.")],
    number: Annotated[str, typer.Option(help="Control number that was paid.")],
    amount: Annotated[str | None, typer.Option(help="Amount, such as 45000. Needed for received.")] = None,
    currency: Annotated[str, typer.Option(help="Currency of the amount.")] = "TZS",
    payment_id: Annotated[
        str | None, typer.Option("--id", help="The payment's id; the same id again is the same payment.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="ClickPesa's word, such as SUCCESS or SETTLED.")] = None,
    message: Annotated[
        str | None, typer.Option(help="ClickPesa's message, such as the reason of a failure.")
    ] = None,
    payer: Annotated[str, typer.Option(help="Name of the payer.")] = "Asha Juma",
    url: Annotated[
        str | None,
        typer.Option(help="Where to post it. Default: /webhooks/clickpesa of the tuma that runs here."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Post a payment webhook to the running tuma.

    It is signed with CLICKPESA_CHECKSUM_KEY if that is set. No money moves, but tuma believes a signed webhook:
    it stops the bill's reminders and sends a receipt.
    """
    settings = runtime.settings()
    data = _common(number, payment_id, message)
    data |= (
        _received(amount, currency, payer)
        if event is Event.RECEIVED
        else {"message": message or "Payment failed"}
    )
    data["status"] = status or ("SUCCESS" if event is Event.RECEIVED else "FAILED")
    payload = {"event": f"PAYMENT {event.upper()}", "data": data}
    _post(url or _local_url(settings), _signed(payload, settings), as_json)


def _common(number: str, payment_id: str | None, message: str | None) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": payment_id or f"{number}LCP{secrets.token_hex(4).upper()}",
        "orderReference": number,
        "channel": "MIXX BY YAS",
        "message": message or "success",
        "createdAt": now,
        "updatedAt": now,
    }


def _received(amount: str | None, currency: str, payer: str) -> dict[str, Any]:
    return {
        "paymentReference": secrets.token_hex(7),
        "collectedAmount": f"{_amount(amount):f}",
        "collectedCurrency": currency,
        "customer": {"customerName": payer, "customerPhoneNumber": "255754123456"},
    }


def _amount(text: str | None) -> Decimal:
    from bot.domain.money import parse_amount

    if text is None:
        raise typer.BadParameter("a received payment needs an amount", param_hint="--amount")
    try:
        return parse_amount(text)
    except ValueError as error:
        raise Misused(
            Problem(field="--amount", message=f"the amount {error}", given=text, expected="45000")
        ) from error


def _signed(payload: dict[str, Any], settings: Settings) -> bytes:
    if settings.clickpesa_checksum_key is None:
        note("CLICKPESA_CHECKSUM_KEY is not set: the webhook goes unsigned, and is only a hint.")
        return msgspec.json.encode(payload)
    checksum = _checksum(msgspec.json.encode(payload), settings.clickpesa_checksum_key)
    return msgspec.json.encode(payload | {"checksum": checksum, "checksumMethod": "canonical"})


def _checksum(raw: bytes, key: str) -> str:
    from bot.billpay.checksum import load, sign

    try:
        return sign(load(raw), key)
    except ValueError as error:
        raise Refused(Problem(field="payload", message=f"is not a JSON object: {error}")) from error


def _key(settings: Settings) -> str:
    if settings.clickpesa_checksum_key is None:
        raise ConfigError(
            "CLICKPESA_CHECKSUM_KEY: not set; ClickPesa's dashboard shows it where checksums are enabled"
        )
    return settings.clickpesa_checksum_key


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE|-") from error


def _local_url(settings: Settings) -> str:
    host, _, port = settings.listen.rpartition(":")
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/webhooks/clickpesa"  # noqa: S104


def _post(url: str, body: bytes, as_json: bool) -> None:
    import httpx

    try:
        reply = httpx.post(
            url, content=body, headers={"content-type": "application/json"}, timeout=_TIMEOUT_S
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failed(
            f"{url} does not answer ({type(error).__name__}); is `tuma up` running there?"
        ) from error
    if as_json:
        emit({"ok": reply.is_success, "status": reply.status_code, "url": url, "sent": msgspec.Raw(body)})
    else:
        say(f"{reply.status_code} {reply.reason_phrase} from {url}")
        say(reply.text.strip()[:500])
    if not reply.is_success:
        raise typer.Exit(FAILED)
