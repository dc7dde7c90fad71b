"""What providers tell us over HTTP: verified first, then handed to the engine before anything is answered.

A webhook that does not verify changes nothing, costs one hash over a small body, and is counted. 2xx means that what
was said is on disk; 503 that Redis is away and the provider should say it again. The same webhook may come twice.

Sources: ClickPesa webhooks and checksum; Twilio status callbacks and incoming messages (X-Twilio-Signature); Africa's
Talking SMS notifications, which are not signed and come to an address that holds a secret instead; Telegram Bot API,
setWebhook (X-Telegram-Bot-Api-Secret-Token).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import msgspec
import structlog
from aiohttp import web
from multidict import MultiDict

from bot.billpay import checksum, webhook
from bot.domain.bill import SettleResult
from bot.errors import NotFound, Refused
from bot.web import bodies, problems
from bot.web.answers import json_answer
from bot.web.check import Check
from bot.web.metrics import Metrics
from bot.web.problems import Rejected
from bot.web.routes import Answer, Body, Route
from channels import africastalking_status, twilio_status

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

log = structlog.get_logger("tuma.web.webhooks")

Updates = Callable[[dict[str, Any]], Awaitable[None]]
_LARGEST = 256 * 1024
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the name of a header
_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "ACHA", "ACHENI"})
_START = frozenset({"START", "UNSTOP", "ANZA"})


class PaymentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment event did. `messages`: how many it caused, receipts or notices of a failed attempt."""

    outcome: str
    payment: str
    reason: str | None
    canceled: int
    messages: int


class Webhooks:
    """The addresses that providers call."""

    def __init__(
        self, engine: Engine, settings: Settings, metrics: Metrics, updates: Updates | None, check: Check
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._updates = updates
        self._check = check
        self._counters: dict[tuple[str, str], Callable[[], None]] = {}

    def routes(self) -> list[Route]:
        """The provider addresses, for the route table."""
        return [
            Route(
                method="POST",
                path="/webhooks/clickpesa",
                handler=self.clickpesa,
                summary="A payment event of ClickPesa",
                tag="webhooks",
                body=Body(schemas={"application/json": None}),
                answers={200: Answer(meaning="Settled, repeated or kept for staff", body=PaymentAnswer)},
                problems=("not-understood", "wrong-checksum", "too-large", "unavailable"),
            ),
            self._twilio("/webhooks/twilio/status", self.delivery_status, "A message status of Twilio", 204),
            self._twilio("/webhooks/twilio/inbound", self.customer_message, "A message from a customer", 200),
            self._africastalking("delivery", self.delivery_report, "A delivery report of Africa's Talking"),
            self._africastalking("optout", self.opt_out_notice, "Who stopped messages at Africa's Talking"),
            Route(
                method="POST",
                path="/webhooks/telegram",
                handler=self.telegram,
                summary="An update of Telegram",
                tag="webhooks",
                body=Body(schemas={"application/json": None}),
                headers={_SECRET_HEADER: "The secret given to Telegram with the webhook."},
                answers={200: Answer(meaning="Taken")},
                problems=("not-understood", "wrong-signature", "unavailable"),
            ),
        ]

    def _twilio(self, path: str, handler: Any, summary: str, status: int) -> Route:
        return Route(
            method="POST",
            path=path,
            handler=handler,
            summary=summary,
            tag="webhooks",
            body=Body(schemas={"application/x-www-form-urlencoded": None}),
            headers={"X-Twilio-Signature": "Twilio's signature over the public URL and the form."},
            answers={status: Answer(meaning="Taken, or known already", media_type="text/xml")},
            problems=("bad-request", "wrong-signature", "unavailable"),
        )

    def _africastalking(self, what: str, handler: Any, summary: str) -> Route:
        return Route(
            method="POST",
            path="/webhooks/africastalking/{token}/" + what,
            handler=handler,
            summary=summary,
            tag="webhooks",
            body=Body(schemas={"application/x-www-form-urlencoded": None}),
            answers={200: Answer(meaning="Taken, or known already")},
            problems=("bad-request", "not-found", "unavailable"),
        )

    # ClickPesa

    async def clickpesa(self, request: web.Request) -> web.Response:
        """Settle a signed payment event; without a checksum key take it as a hint to ask ClickPesa."""
        raw = await bodies.read(request, _LARGEST)
        key = self._settings.clickpesa_checksum_key
        payload = checksum.verified(raw, key) if key is not None else None
        if key is not None and payload is None:
            raise self._unverified("clickpesa", raw)
        try:
            event = webhook.parse(raw) if payload is None else webhook.read(payload, raw)
        except Refused as error:
            self._count("clickpesa", "not understood")
            return problems.respond(problems.details("not-understood", errors=error.problems))
        if key is None:
            hinted = await self._engine.payments.hint(event.number)
            self._count("clickpesa", "hint" if hinted else "ignored hint")
            return json_answer({"outcome": "noted"})
        result = await self._engine.payments.settle(event)
        self._count("clickpesa", result.outcome)
        return json_answer(_payment_answer(result))

    def _unverified(self, sender: str, raw: bytes) -> Rejected:
        self._count(sender, "unverified")
        bodies.json_object(raw)  # what is no JSON object carries no checksum that could be wrong
        return Rejected("wrong-checksum")

    # Twilio

    async def delivery_status(self, request: web.Request) -> web.Response:
        """Apply a delivery status to the message that the address names."""
        form = await self._twilio_form(request)
        try:
            update = twilio_status.parse_status(request.query, form)
        except ValueError as error:
            raise self._not_understood("twilio", error) from error
        try:
            changed = await self._engine.receipts.arrived("twilio", update)
        except NotFound:
            # Twilio can do nothing about it, and would report a 404 as our failure.
            changed = False
        self._count("twilio", "delivery" if changed else "old delivery")
        return web.Response(status=204)

    async def customer_message(self, request: web.Request) -> web.Response:
        """Open WhatsApp's window for the sender, obey the words that stop and start messages, and answer whoever asks
        there whether a bill is real. SMS is not answered: it is one-way in Tanzania.
        """
        form = await self._twilio_form(request)
        try:
            inbound = twilio_status.parse_inbound(form)
        except ValueError as error:
            raise self._not_understood("twilio", error) from error
        answer = None
        if inbound.sender is not None:
            await self._engine.contacts.inbound(inbound.kind, inbound.sender)
            await self._obey(inbound, inbound.sender)
            if inbound.kind == "whatsapp":
                answer = await self._check.reply(inbound.text, "whatsapp", inbound.sender)
        self._count("twilio", "inbound")
        return web.Response(text=twiml(answer), content_type="text/xml")

    async def _obey(self, inbound: twilio_status.Inbound, sender: str) -> None:
        word = inbound.opt_out_type or keyword(inbound.text)
        proof = f"{inbound.kind} keyword {word}, {inbound.message_sid}"
        if word in _STOP:
            await self._engine.contacts.opt_out(inbound.kind, sender, proof=proof)
        elif word in _START:
            await self._engine.contacts.opt_in(inbound.kind, sender, proof=proof)

    async def _twilio_form(self, request: web.Request) -> MultiDict[str]:
        form = bodies.form(await bodies.read(request, _LARGEST))
        token = self._settings.twilio_auth_token or ""
        signature = request.headers.get("X-Twilio-Signature", "")
        if not twilio_status.verify(self._public_address(request), form, signature, token):
            self._count("twilio", "unverified")
            raise Rejected("wrong-signature")
        return form

    def _public_address(self, request: web.Request) -> str:
        # The path as it came, byte for byte: the signature covers it, and a Host header may be anybody's.
        return f"{self._settings.public_url or ''}{request.raw_path}"

    # Africa's Talking

    async def delivery_report(self, request: web.Request) -> web.Response:
        """Apply a delivery report to the message whose provider id it names."""
        form = await self._africastalking_form(request)
        try:
            changed = await self._engine.receipts.reported(
                "africastalking", africastalking_status.parse_report(form)
            )
        except ValueError as error:
            raise self._not_understood("africastalking", error) from error
        except NotFound:
            changed = False
        self._count("africastalking", "delivery" if changed else "old delivery")
        return web.Response()

    async def opt_out_notice(self, request: web.Request) -> web.Response:
        """Send no more SMS to whoever stopped them at the network."""
        form = await self._africastalking_form(request)
        try:
            phone = africastalking_status.parse_opt_out(form)
        except ValueError as error:
            raise self._not_understood("africastalking", error) from error
        await self._engine.contacts.opt_out("sms", phone, proof="opt-out at Africa's Talking")
        self._count("africastalking", "opt-out")
        return web.Response()

    async def _africastalking_form(self, request: web.Request) -> MultiDict[str]:
        token = self._settings.africastalking_callback_token
        if not africastalking_status.admits(request.match_info["token"], token):
            self._count("africastalking", "unverified")
            raise Rejected("not-found")
        return bodies.form(await bodies.read(request, _LARGEST))

    # Telegram

    async def telegram(self, request: web.Request) -> web.Response:
        """Hand an update to the bot, and answer only when it is handled: an unhandled one comes again."""
        if self._updates is None:
            raise Rejected("not-found", "updates are fetched by long polling")
        self._check_secret(request)
        update = bodies.json_object(await bodies.read(request, _LARGEST))
        await self._updates(update)
        self._count("telegram", "update")
        return web.Response()

    def _check_secret(self, request: web.Request) -> None:
        secret = self._settings.telegram_webhook_secret or ""
        given = request.headers.get(_SECRET_HEADER, "")
        same = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())
        if not secret or not same:
            self._count("telegram", "unverified")
            raise Rejected("wrong-signature")

    # Shared

    def _not_understood(self, sender: str, error: ValueError) -> Rejected:
        self._count(sender, "not understood")
        return Rejected("bad-request", str(error))

    def _count(self, sender: str, outcome: str) -> None:
        found = self._counters.get((sender, outcome))
        if found is None:
            # Looking it up takes longer than counting.
            found = self._counters[sender, outcome] = self._metrics.webhooks.labels(sender, outcome).inc
        found()


def _payment_answer(result: SettleResult) -> PaymentAnswer:
    return PaymentAnswer(
        outcome=result.outcome,
        payment=result.payment,
        reason=result.reason,
        canceled=result.canceled,
        messages=result.receipts,
    )


def twiml(answer: str | None) -> str:
    """What Twilio shall do about an incoming message: nothing, or write back over the channel it came from."""
    inner = f"<Response><Message>{escape(answer)}</Message></Response>" if answer else "<Response/>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{inner}'


def keyword(text: str) -> str:
    """The one word that a message is, in capitals; empty if it is more than one word."""
    match = re.fullmatch(r"\W*(\w+)\W*", text.strip())
    return match[1].upper() if match else ""
