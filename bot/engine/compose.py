"""From a handed-out message to the content of one channel: one bill and one contact, nothing global."""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from bot.domain.message import Kind
from bot.domain.money import from_minor
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.scripts import HandedOut
from bot.engine.store import guard
from bot.render.facts import Facts, PaymentFacts
from bot.render.templates import Renderer
from bot.settings import Settings
from channels.base import ChannelName, Content, EmailContent, SmsContent, TelegramContent, WhatsAppContent

# WhatsApp's window is 24 h from the customer's last message; the margin covers the way there.
# Source: Twilio error 63016.
_WINDOW_MS = 24 * 3_600_000 - 300_000
_USERNAME_KEPT_S = 60.0


class Composer:
    """Gathers the facts of a message and renders them."""

    def __init__(self, records: Records, renderer: Renderer, settings: Settings) -> None:
        self._records, self._renderer, self._settings = records, renderer, settings
        self._username: tuple[float, str | None] = (0.0, None)

    async def username(self) -> str | None:
        """The bot's user name, told by whichever process runs the bot; None until then."""
        until, known = self._username
        if time.monotonic() >= until:
            with guard():
                known = await self._records.client.get(keys.BOT_USERNAME)
            self._username = (time.monotonic() + _USERNAME_KEPT_S, known)
        return known

    def content(self, held: HandedOut, username: str | None, last_inbound_ms: int, now_ms: int) -> Content:
        """Render one message. Raises TemplateError."""
        window_open = bool(last_inbound_ms) and now_ms - last_inbound_ms < _WINDOW_MS
        return self._renderer.render(self.facts(held, username, window_open=window_open))

    def facts(self, held: HandedOut, username: str | None, *, window_open: bool) -> Facts:
        """What this message may say."""
        m, s, a = held.message, held.share, held.account
        term, blob, currency = views.term_of(a, s["term"]), views.blob(s), held.account["cur"]
        payment, carried = _payment(m, term), views.carried(a, term)
        return Facts(
            kind=Kind(m["k"]),
            channel=ChannelName(m["ch"]),
            locale=s["loc"],
            template=blob.template,
            message_id=keys.message_id(held.partition, held.id),
            name=views.name_of(s, a),
            number=m["num"],
            amount=_to_pay(m, payment, from_minor(views.balance(a, term) + carried, currency)),
            carried=from_minor(carried, currency),
            credited=from_minor(views.minor(a, f"cu:{term}"), currency),
            total=from_minor(views.total(a, term), currency),
            paid=from_minor(views.paid(a, term), currency),
            currency=currency,
            description=a.get(f"tx:{term}"),
            due_at=views.moment(a.get(f"td:{term}")),
            order_number=a["kind"] == "order",
            exact=a[f"tm:{term}"] == "exact",
            payment=payment,
            pay_url=self._url("pay", keys.token(held.partition, s["sid"])),
            out_url=self._url("out", f"{keys.token(held.partition, s['sid'])}.{m['ch']}"),
            link_url=_link_url(held.partition, s, username),
            data=blob.data,
            window_open=window_open,
            renewing="nxk" in a and a["st"] == "closed",
        )

    def _url(self, page: str, token: str) -> str | None:
        return f"{self._settings.public_url}/{page}/{token}" if self._settings.public_url else None


def _link_url(p: int, share: Mapping[str, str], username: str | None) -> str | None:
    if not username or not share.get("lt") or share.get("a:telegram"):
        return None
    return f"https://t.me/{username}?start={keys.link_payload(p, share['sid'], share['lt'])}"


def _to_pay(message: Mapping[str, str], payment: PaymentFacts | None, owed: Decimal) -> Decimal:
    """What the reader should pay: under the number that came after this one, the balance of the payment."""
    return payment.balance if payment is not None and message.get("nn") else owed


def _payment(message: Mapping[str, str], term: str) -> PaymentFacts | None:
    if not message.get("j"):
        return None
    j = msgspec.json.decode(message["j"], type=dict[str, str])
    currency = j["cur"] or "TZS"
    credit_here = j.get("ct", term) == term
    here = int(j.get(f"al:{term}", 0)) + (int(j["cr"]) if credit_here else 0)
    balance = from_minor(int(j["bal"]), currency)
    ended = message.get("gu") == "1" and balance > 0
    return PaymentFacts(
        amount=from_minor(int(j["am"]), currency) if j["am"] else None,
        currency=currency,
        balance=Decimal(0) if ended else balance,
        credit=from_minor(int(j["cr"]), currency),
        reference=j["ref"],
        paid_at=views.moment(j["at"]),
        payer=None,
        reason=j.get("msg") or None,
        number_closed=j["closed"] == "1",
        next_number=message.get("nn"),
        here=from_minor(here, currency) if "ct" in j else None,
        credit_here=credit_here,
        ended=ended,
        mistaken=j.get("mist") == "1",
    )


def wallet(message: Mapping[str, str]) -> str:
    """What the payment of a receipt came by, in the provider's word; empty for every other message."""
    if message["k"] != Kind.RECEIPT or not message.get("j"):
        return ""
    return msgspec.json.decode(message["j"], type=dict[str, str]).get("ch", "")


def retained(content: Content) -> str:
    """What is kept of a sent message: the text that was got; of mail the subject, for its text has the same facts."""
    match content:
        case SmsContent():
            return content.text
        case WhatsAppContent():
            return content.sent_text
        case TelegramContent():
            return content.html
        case EmailContent():
            return content.subject
