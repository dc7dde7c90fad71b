"""From the facts of one bill and one contact to what a channel sends.

A renderer is built once and holds nothing but the merchant and the templates: two messages cannot meet in
it. It renders in the customer's language where there is a template for it, and never sends, stores or looks
anything up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render import words
from bot.render.check import Finding, inspect
from bot.render.facts import Facts
from bot.render.invoice import has_invoice, of_message
from bot.render.invoice_pdf import pdf
from bot.render.jinja import Sandbox
from bot.render.library import PARTS, Bundle, Library, templates_dir
from bot.render.look import Look
from bot.render.pagefiles import PageFiles, language
from bot.render.payment_methods import FILE as METHODS_FILE
from bot.render.payment_methods import methods
from bot.render.segments import count, to_gsm
from bot.render.sms_shape import Fitter
from bot.render.variables import Merchant, clean, gather
from bot.render.whatsapp import TOTAL_ROOM, Approved, Mapped, one_line
from bot.render.words import Words
from channels.base import (
    Attachment,
    Button,
    ChannelName,
    Content,
    EmailContent,
    SmsContent,
    TelegramContent,
    WhatsAppContent,
)

Findings = list[Finding]  # `list` is a method's name inside the class

_SUBJECT_ROOM = 150
_BODY_ROOM = 1600  # Twilio's limit for the text of any message
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
# Septets of an SMS of n segments: one stands alone, several carry a header each.
_ALONE, _JOINED = 160, 153


@dataclass(frozen=True, slots=True)
class Listed:
    """One message that can be rendered. `overridden`: at least one of its files is the merchant's own."""

    set: str
    locale: str
    kind: Kind
    channel: ChannelName
    files: tuple[Path, ...]
    overridden: bool


Listing = list[Listed]


class Renderer:
    """Renders every kind on every channel. Raises TemplateError at once when a data file cannot be read."""

    def __init__(
        self,
        *,
        merchant_name: str,
        merchant_contact: str | None = None,
        mpesa_business_number: str | None = None,
        zone: str = "Africa/Dar_es_Salaam",
        default_locale: str = "sw",
        overrides: Path | None = None,
        whatsapp_templates: Path | None = None,
        sms_max_segments: int = 1,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        look: Look | None = None,
        email_invoice: Literal["link", "attach", "none"] = "none",
    ) -> None:
        shown = tuple(methods(mpesa_business_number, _own_methods(overrides)))
        self.merchant = Merchant(name=merchant_name, contact=merchant_contact, zone=zone, methods=shown)
        self.look = look or Look(name=merchant_name, contact=merchant_contact)
        self._email_invoice = email_invoice
        self._pages = PageFiles(overrides) if email_invoice == "attach" else None
        self.overrides = overrides
        self.library = Library(templates_dir(), overrides, default_locale)
        self.approved = Mapped(whatsapp_templates)
        self.sms_max_segments = sms_max_segments
        self._clock = clock
        self._expressions = {name: text for entry in self.approved for name, text in entry.sources.items()}
        self.sandbox = Sandbox(self._source)
        self._words: dict[tuple[str, str], Words] = {}
        self._fitters: dict[str, Fitter] = {}
        self._writers: dict[ChannelName, Callable[[Facts, Bundle, dict[str, Any]], Content]] = {
            ChannelName.SMS: self._sms,
            ChannelName.WHATSAPP: self._whatsapp,
            ChannelName.EMAIL: self._email,
            ChannelName.TELEGRAM: self._telegram,
        }

    @property
    def version(self) -> str:
        """Twelve hex digits that change whenever any template does."""
        return self.library.version

    def render(self, facts: Facts) -> Content:
        """What `facts.channel` sends. Raises TemplateError naming file, line and variable."""
        if facts.kind in (Kind.RECEIPT, Kind.CORRECTION) and facts.payment is None:
            raise TemplateError(f"a {facts.kind} needs a payment")
        bundle = self.library.bundle(facts.template, facts.locale, facts.kind, facts.channel)
        values = self.values(facts, bundle.set, bundle.locale)
        return self._writers[facts.channel](facts, bundle, values)

    def vet(self, facts: Facts) -> None:
        """Raise what `render` would, without choosing the best of the texts there is room for."""
        if facts.channel is ChannelName.SMS and facts.kind is Kind.INSTRUCTIONS:
            bundle = self.library.bundle(facts.template, facts.locale, facts.kind, facts.channel)
            values = self.values(facts, bundle.set, bundle.locale)
            if self._carries(values) and self._fitter(bundle.names[0]).fits(values, self._room()):
                return
        self.render(facts)

    def values(self, facts: Facts, template_set: str, locale: str) -> dict[str, Any]:
        """The template variables of one message in one language. Raises TemplateError."""
        reasons = self.words(template_set, locale).reasons
        linked = self._email_invoice == "link" and facts.pay_url and has_invoice(facts)
        invoice_url = f"{facts.pay_url}/invoice.pdf?lang={language(locale)}" if linked else ""
        values = gather(facts, self.merchant, locale, reasons, self._clock())
        values["invoice_url"] = invoice_url
        return values

    def check(self) -> Findings:
        """Everything wrong with the templates, before a campaign starts. Empty when there is nothing to say."""
        return inspect(self)

    def list(self) -> Listing:
        """Every message that can be rendered, by set, locale, kind and channel."""
        found = [
            self._listed(template_set, locale, kind, channel)
            for template_set in self.library.sets
            for locale in self.library.locales(template_set)
            for kind in Kind
            for channel in ChannelName
        ]
        return [entry for entry in found if entry is not None]

    def data_fields(self, template: str, locale: str, kind: Kind, channel: ChannelName) -> set[str]:
        """Which of a share's own `data` values one message needs. Raises TemplateError."""
        names = self.library.bundle(template, locale, kind, channel).names
        used = {name for file in names for name in self.sandbox.names_used(file)}
        return {name.split(".")[1] for name in used if name.startswith("data.")}

    def words(self, template_set: str, locale: str) -> Words:
        """Short texts of one set and language, such as button labels. Raises TemplateError."""
        key = (template_set, locale)
        if key not in self._words:
            self._words[key] = self._read_words(*key)
        return self._words[key]

    def _read_words(self, template_set: str, locale: str) -> Words:
        for folder in self.library.chain(template_set, locale):
            name = "/".join((*folder, words.FILE))
            text = self.library.source(name)
            if text is not None:
                return words.read(name, text)
        raise TemplateError(f"{template_set}/{locale}/{words.FILE} is missing")

    def _listed(self, template_set: str, locale: str, kind: Kind, channel: ChannelName) -> Listed | None:
        names = [f"{template_set}/{locale}/{kind}.{part}" for part in PARTS[channel]]
        files = tuple(path for path in map(self.library.path, names) if path is not None)
        own = any(name in self.library.overridden for name in names)
        return Listed(template_set, locale, kind, channel, files, own) if len(files) == len(names) else None

    def _source(self, name: str) -> str | None:
        return self._expressions.get(name) or self.library.source(name)

    def _sms(self, facts: Facts, bundle: Bundle, values: dict[str, Any]) -> SmsContent:
        if not self._carries(values):
            raise TemplateError("MERCHANT_NAME has no character that an SMS can carry")
        (name,) = bundle.names
        text = self._fitter(name).fit(values, self._room())
        segments = count(text).segments
        if segments > self.sms_max_segments:
            raise TemplateError(
                f"{name}: {segments} SMS segments at the shortest, {self.sms_max_segments} allowed"
            )
        return SmsContent(text)

    def _room(self) -> int:
        return _ALONE if self.sms_max_segments == 1 else _JOINED * self.sms_max_segments

    def _carries(self, values: dict[str, Any]) -> bool:
        return bool(to_gsm(values["merchant"]).strip())

    def _fitter(self, name: str) -> Fitter:
        if name not in self._fitters:
            render = partial(self.sandbox.render, name)
            self._fitters[name] = Fitter(render, self.sandbox.names_used(name))
        return self._fitters[name]

    def _whatsapp(self, facts: Facts, bundle: Bundle, values: dict[str, Any]) -> WhatsAppContent:
        text = self._whatsapp_text(bundle.names[0], values)
        approved = self.find_approved(facts)
        if approved is None:
            return WhatsAppContent(text, None, {}, facts.window_open)
        filled = self.fill(approved, self.values(facts, approved.set, approved.locale))
        shown = approved.shown(filled)
        return WhatsAppContent(text, approved.content_sid, filled, facts.window_open, shown)

    def _whatsapp_text(self, name: str, values: dict[str, Any]) -> str:
        text = _paragraphs(self.sandbox.render(name, values))
        if len(text) > _BODY_ROOM:  # the customer's page has the steps too
            text = _paragraphs(self.sandbox.render(name, values | {"methods": []}))
        if len(text) > _BODY_ROOM:
            raise TemplateError(f"{name}: longer than {_BODY_ROOM} characters")
        return text

    def find_approved(self, facts: Facts) -> Approved | None:
        """The approved WhatsApp template that a message goes out as, outside the 24 hours."""
        places = self.library.chain(facts.template, facts.locale.replace("-", "_"))
        found = (self.approved.find(*place, facts.kind) for place in places)
        return next((approved for approved in found if approved is not None), None)

    def fill(self, approved: Approved, values: dict[str, Any]) -> dict[str, str]:
        """Every placeholder of an approved template, by its number. Raises TemplateError."""
        filled = {}
        for place, name in enumerate(approved.sources, 1):
            filled[str(place)] = one_line(self.sandbox.render(name, values))
            if not filled[str(place)]:
                raise TemplateError(
                    f"{name}: is empty; give it something else to say, as in: name or 'mteja'"
                )
        if len(approved.filled(filled)) > TOTAL_ROOM:
            raise TemplateError(f"{approved.name}: longer than {TOTAL_ROOM} characters once filled")
        return filled

    def _email(self, facts: Facts, bundle: Bundle, values: dict[str, Any]) -> EmailContent:
        subject, text, html = (self.sandbox.render(name, values) for name in bundle.names)
        contact = self.merchant.contact
        return EmailContent(
            subject=clean(subject, _SUBJECT_ROOM),
            text=_paragraphs(text) + "\n",
            html=html,
            unsubscribe_url=facts.out_url,
            reply_to=contact if contact and "@" in contact else None,
            attachment=self._attachment(facts, bundle.locale),
        )

    def _attachment(self, facts: Facts, locale: str) -> Attachment | None:
        """The bill, or its receipt, as a PDF."""
        if self._pages is None or not has_invoice(facts):
            return None
        lang = language(locale)
        merchant = {"merchant": self.look.name, "tin": self.look.tin or ""}
        invoice = of_message(facts, lang)
        words = self._pages.words(lang, merchant | invoice.facts(self.merchant.zone))
        name = words["receipt_title" if invoice.state == "paid" else "bill"].lower()
        made = pdf(invoice, self.look, self.merchant.methods, words, self.merchant.zone)
        return Attachment(f"{name}-{invoice.number[-4:]}.pdf", "application/pdf", made)

    def _telegram(self, facts: Facts, bundle: Bundle, values: dict[str, Any]) -> TelegramContent:
        html = _paragraphs(self.sandbox.render(bundle.names[0], values))
        return TelegramContent(html, self._buttons(facts, bundle))

    def _buttons(self, facts: Facts, bundle: Bundle) -> tuple[tuple[Button, ...], ...]:
        labels = self.words(bundle.set, bundle.locale)
        rows = []
        if _is_payable(facts):
            number = (facts.payment and facts.payment.next_number) or facts.number
            rows.append((Button(labels.copy_number, copy=number),))
        if facts.pay_url and _is_linkable(facts.pay_url):
            rows.append((Button(labels.open_bill, url=facts.pay_url),))
        return tuple(rows)


def _is_payable(facts: Facts) -> bool:
    """Whether somebody who reads this message should pay the number: not once it is closed or all is paid."""
    if facts.payment is None or facts.payment.next_number:
        return True
    return not facts.payment.number_closed and (facts.kind is not Kind.RECEIPT or facts.payment.balance > 0)


def _own_methods(overrides: Path | None) -> Path | None:
    own = overrides / METHODS_FILE if overrides is not None else None
    return own if own is not None and own.is_file() else None


def _paragraphs(text: str) -> str:
    """Text without the empty lines that left-out parts leave behind."""
    lines = "\n".join(map(str.rstrip, text.strip().splitlines()))
    return _BLANK_LINES.sub("\n\n", lines)


def _is_linkable(url: str) -> bool:
    # Telegram refuses the whole message over a button whose host has no dot, such as localhost.
    return "." in (urlsplit(url).hostname or "")
