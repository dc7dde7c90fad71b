"""A bill on its way to becoming a share: what staff wrote, as fields, as a share job, and as the SMS it will be.

A draft is a plain map, because it waits in Redis between two messages: `draft` (its id, and the share's), `locale`,
and as far as they are known `number`, `phone`, `amount`, `name`, `kind`. Nothing here sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from bot.domain.bill import AcceptedShare, BillKind, BillView
from bot.domain.message import Kind
from bot.domain.share import ShareJob, from_fields
from bot.errors import NotFound, Refused, TemplateError
from bot.render.facts import Facts
from bot.staff.buttons import DraftAct, button, keyboard
from bot.staff.cards import Screen
from bot.staff.people import refusal
from bot.staff.speech import Html, Speech, clip, lines
from channels.base import ChannelName, SmsContent

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.render.templates import Renderer
    from bot.settings import Settings

Draft = Mapping[str, Any]
# The questions in their order, and where a share job keeps the answer.
PATHS = {"number": "bill.number", "phone": "customer.phone", "amount": "bill.amount", "name": "customer.name"}
_SAMPLE = {"draft": "sample", "number": "1", "phone": "+255754000000", "amount": "1", "name": ""}
# A page token's stand-in, of the right length for counting segments.
_TOKEN = "0-" + "x" * 16
_FIGURES = re.compile(r"[+(]?[0-9][0-9()+.,/=-]*")
_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_CURRENCY = re.compile(r"^(?:tzs|tshs?|sh)\.?\s*|\s*(?:tzs|tshs?|/=|/-)$", re.IGNORECASE)
_CURRENCY_WORDS = {"tzs", "tsh", "tshs", "sh"}


def one_line(text: str) -> dict[str, str] | None:
    """NUMBER PHONE AMOUNT [NAME] as fields; {} for nothing, None if it cannot be told apart.

    A phone may be written in groups: of the words that look like figures the last is the amount.
    """
    if not text.strip():
        return {}
    number, *rest = text.split()
    words = [word for word in rest if word.casefold() not in _CURRENCY_WORDS]
    figures: list[str] = []
    while words and _FIGURES.fullmatch(words[0]):
        figures.append(words.pop(0))
    if len(figures) < 2:
        return None
    *phone, amount = figures
    return {
        "number": number,
        "phone": " ".join(phone),
        "amount": bare_amount(amount),
        "name": " ".join(words),
    }


def bare_amount(text: str) -> str:
    """45,000/= and TZS 45,000 are how amounts are written; what is left must be a plain number."""
    bare = _CURRENCY.sub("", text.strip())
    return bare.replace(",", "") if _GROUPED.fullmatch(bare) else bare


def complaint(say: Speech, field: str, given: str) -> Html:
    """What is wrong with a field, in words of this dialogue."""
    texts = {
        "number": "share.bad_number",
        "phone": "share.bad_phone",
        "amount": "share.bad_amount",
        "name": "share.bad_name",
    }
    return say(texts[field], given=clip(given, 60))


def cancel_button(say: Speech, draft: str) -> InlineKeyboardButton:
    """Gives a draft up."""
    return button(say.plain("button.cancel"), DraftAct(draft=draft, act="cancel"))


@dataclass(frozen=True, slots=True)
class Drafts:
    """Turns drafts into previews and shares."""

    engine: Engine
    settings: Settings
    renderer: Renderer

    def wrong(self, given: Mapping[str, str]) -> dict[str, str]:
        """The fields, of a draft that need not be complete, that no share job could hold."""
        try:
            self._job({**_SAMPLE, "locale": self.settings.locale, **given}, None)
        except Refused as refused:
            paths = {problem.field for problem in refused.problems}
            return {name: given[name] for name, path in PATHS.items() if name in given and path in paths}
        return {}

    async def preview(self, say: Speech, draft: Draft) -> Screen:
        """What will be sent, with the buttons that send or change it; without buttons if it cannot be sent."""
        known = await self._known(draft["number"])
        try:
            job = self._job(draft, known)
            text = self._sms(job)
        except Refused as refused:
            return Screen(refusal(say, refused), None)
        except TemplateError as error:
            return Screen(say("share.template", detail=str(error)), None)
        shown = lines(self._summary(say, job, text), _note(say, job, known))
        return Screen(shown, _buttons(say, draft, fixed=known is not None))

    async def send(self, draft: Draft) -> AcceptedShare:
        """Hand the share in; a draft sent twice is one share. Raises Refused."""
        return await self.engine.shares.accept(self._job(draft, await self._known(draft["number"])))

    async def _known(self, number: str) -> BillView | None:
        try:
            return await self.engine.bills.get(number)
        except NotFound:
            return None

    def _job(self, draft: Draft, known: BillView | None) -> ShareJob:
        """The share job of a draft. A number on record keeps its kind and currency. Raises Refused."""
        kind = known.kind.value if known else draft.get("kind", BillKind.ORDER.value)
        bill = {"number": draft["number"], "kind": kind, "amount": draft["amount"]}
        if known:
            bill["currency"] = known.currency
        customer = {"name": draft["name"] or None, "phone": draft["phone"], "locale": draft["locale"]}
        fields = {"id": f"bot-{draft['draft']}", "bill": bill, "customer": customer}
        return from_fields(fields, settings=self.settings)

    def _summary(self, say: Speech, job: ShareJob, text: str) -> Html:
        return say(
            "share.preview",
            number=job.bill.number,
            kind=say.word("bill_kind", job.bill.kind),
            name=job.customer.name or "",
            phone=job.customer.phone,
            amount=say.money(job.bill.amount, job.bill.currency),
            channels=self._channels(say, job),
            text=text,
        )

    def _channels(self, say: Speech, job: ShareJob) -> Html:
        off = self.settings.channels_off()
        on = ", ".join(say.word("channel", c) for c in job.route.channels if c not in off)
        gone = ", ".join(say.word("channel", c) for c in job.route.channels if c in off)
        return Html(
            " · ".join(part for part in (on, say("share.off", channels=gone) if gone else "") if part)
        )

    def _sms(self, job: ShareJob) -> str:
        content = self.renderer.render(self._facts(job))
        assert isinstance(content, SmsContent)  # noqa: S101 - the renderer answers in the channel asked for
        return content.text

    def _facts(self, job: ShareJob) -> Facts:
        bill, pages = job.bill, self.settings.public_url
        return Facts(
            kind=Kind.INSTRUCTIONS,
            channel=ChannelName.SMS,
            locale=job.customer.locale,
            template=job.template,
            message_id=f"{_TOKEN}.1",
            name=job.customer.name,
            number=bill.number or "",
            amount=bill.amount,
            total=bill.amount,
            paid=Decimal(0),
            currency=bill.currency,
            description=bill.description,
            due_at=bill.due_at,
            order_number=bill.kind is BillKind.ORDER,
            exact=False,
            payment=None,
            pay_url=f"{pages}/pay/{_TOKEN}" if pages else None,
            out_url=f"{pages}/out/{_TOKEN}.sms" if pages else None,
            link_url=None,
            data={},
            window_open=False,
        )


def _note(say: Speech, job: ShareJob, known: BillView | None) -> Html | None:
    if known:
        balance = say.money(known.balance, known.currency)
        return say("share.known", status=say.word("status", known.status), balance=balance)
    return say("share.order_hint") if job.bill.kind is BillKind.ORDER else None


def _buttons(say: Speech, draft: Draft, *, fixed: bool) -> InlineKeyboardMarkup | None:
    name, customer = str(draft["draft"]), draft.get("kind") == BillKind.CUSTOMER
    kind = say.plain("button.as_order" if customer else "button.as_customer")
    language = say.plain("button.in_english" if draft["locale"] == "sw" else "button.in_swahili")
    return keyboard(
        [button(say.plain("button.send"), DraftAct(draft=name, act="send")), cancel_button(say, name)],
        [] if fixed else [button(kind, DraftAct(draft=name, act="kind"))],
        [button(language, DraftAct(draft=name, act="locale"))],
    )


def changed(draft: Draft, act: str) -> dict[str, str]:
    """What pressing `kind` or `locale` makes of a draft."""
    if act == "kind":
        customer = draft.get("kind") == BillKind.CUSTOMER
        return {"kind": (BillKind.ORDER if customer else BillKind.CUSTOMER).value}
    return {"locale": "en" if draft["locale"] == "sw" else "sw"}
