"""Finding what is wrong with templates before a campaign starts: nothing here waits for a customer to find
it.

Reads every file, renders every message with usual, bare, long and late bills, and reads the wording. It
cannot know the values of a share's own `data`; `Renderer.data_fields` tells which of them a template needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render import rules, words
from bot.render.facts import Facts
from bot.render.library import DEFAULT_SET, LAST_LOCALE, PARTS
from bot.render.samples import sample_facts, variants
from bot.render.segments import is_gsm, to_gsm
from bot.render.variables import PAYMENT, names
from bot.render.whatsapp import Approved, problems
from channels.base import ChannelName, Content, EmailContent, TelegramContent

if TYPE_CHECKING:
    from bot.render.templates import Listed, Renderer

Severity = Literal["error", "warning"]

# Source: Telegram Bot API, "HTML style".
_TELEGRAM_TAGS = {
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "span",
    "tg-spoiler",
    "tg-emoji",
} | {
    "a",
    "code",
    "pre",
    "blockquote",
}
_PLACE = re.compile(r"(?P<file>[^:]+)(?::(?P<line>\d+))?: (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: `file` as "<set>/<locale>/<file>" or the name of a setting, `line` from 1, None if
    unknown.
    """

    file: str
    line: int | None
    message: str
    severity: Severity

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.severity}: {self.message}"


def inspect(renderer: Renderer) -> list[Finding]:
    """Everything wrong with a renderer's templates, each once, by file and line."""
    found = dict.fromkeys(_everything(renderer))
    told = {(finding.file, finding.message) for finding in found if finding.line is not None}
    kept = [
        finding
        for finding in found
        if finding.line is not None or (finding.file, finding.message) not in told
    ]
    return sorted(kept, key=lambda finding: (finding.file, finding.line or 0, finding.message))


def _everything(renderer: Renderer) -> Iterator[Finding]:
    yield from _merchant(renderer)
    for name in renderer.library.names:
        yield from _file(renderer, name)
    yield from _missing(renderer)
    for listed in renderer.list():
        yield from _messages(renderer, listed)
    yield from _mapping(renderer)


def _merchant(renderer: Renderer) -> Iterator[Finding]:
    if renderer.overrides is not None and not renderer.overrides.is_dir():
        yield Finding("TUMA_TEMPLATES", None, "is not a folder", "error")
    if not to_gsm(renderer.merchant.name).strip():
        yield Finding("MERCHANT_NAME", None, "has no character that an SMS can carry", "error")


# Files


def _file(renderer: Renderer, name: str) -> Iterator[Finding]:
    parts = name.split("/")
    if parts[-1] == words.FILE:
        yield from _words(renderer, name)
    elif parts[-1].startswith("_") or _named(parts):
        yield from _template(renderer, name)
    else:
        yield Finding(
            name, None, "no message uses this file; a name is <set>/<locale>/<kind>.<channel>...", "warning"
        )


def _named(parts: list[str]) -> bool:
    kind, _, part = parts[-1].partition(".")
    return len(parts) == 3 and kind in set(Kind) and any(part in known for known in PARTS.values())


def _words(renderer: Renderer, name: str) -> Iterator[Finding]:
    try:
        words.read(name, renderer.library.source(name) or "")
    except TemplateError as error:
        yield _told(error, name)


def _template(renderer: Renderer, name: str) -> Iterator[Finding]:
    try:
        source = renderer.library.source(name) or ""
        used = renderer.sandbox.names_used(name)
    except TemplateError as error:
        yield _told(error, name)
        return
    channel = _channel(name)
    for variable in sorted(_unknown(used, channel)):
        yield Finding(name, _line_of(source, variable), f"unknown variable {variable}", "error")
    if channel is ChannelName.SMS:
        yield from _alphabet(name, source)
    for wrong in rules.in_source(source, channel, name.endswith(".html")):
        line = source.count("\n", 0, wrong.at) + 1
        yield Finding(name, line, wrong.message, "error" if wrong.fatal else "warning")


def _channel(name: str) -> ChannelName:
    words = name.rpartition("/")[2].split(".")
    return next((channel for channel in ChannelName if channel.value in words), ChannelName.EMAIL)


def _unknown(used: set[str], channel: ChannelName) -> Iterator[str]:
    for variable in used:
        top, _, field = variable.partition(".")
        if top not in names(channel) or (top == "payment" and field and field not in PAYMENT):
            yield variable


def _line_of(source: str, variable: str) -> int | None:
    found = re.search(rf"\b{re.escape(variable)}\b", source)
    return source.count("\n", 0, found.start()) + 1 if found else None


def _alphabet(name: str, source: str) -> Iterator[Finding]:
    bare = re.sub(r"\{#.*?#\}", lambda match: re.sub(r"[^\n]", " ", match[0]), source, flags=re.DOTALL)
    for number, line in enumerate(bare.split("\n"), 1):
        for character in dict.fromkeys(line.replace("\t", " ")):
            if not is_gsm(character):
                nearest = to_gsm(character)
                advice = f"write {nearest}" if nearest.strip() else "leave it out"
                yield Finding(name, number, f"{character!r} is not in the SMS alphabet; {advice}", "error")


# What is not there


def _missing(renderer: Renderer) -> Iterator[Finding]:
    library = renderer.library
    for locale in sorted({*library.locales(DEFAULT_SET), library.default_locale, LAST_LOCALE}):
        for kind in Kind:
            for part in (part for parts in PARTS.values() for part in parts):
                name = f"{DEFAULT_SET}/{locale}/{kind}.{part}"
                if library.path(name) is None:
                    yield Finding(name, None, "is missing", "error")
    for template_set in library.sets:
        for locale in library.locales(template_set):
            yield from _half_mails(renderer, f"{template_set}/{locale}")


def _half_mails(renderer: Renderer, folder: str) -> Iterator[Finding]:
    for kind in Kind:
        mail = [f"{folder}/{kind}.{part}" for part in PARTS[ChannelName.EMAIL]]
        absent = [name for name in mail if renderer.library.path(name) is None]
        if 0 < len(absent) < len(mail):
            for name in absent:
                yield Finding(
                    name, None, "is missing; a mail needs subject, text and HTML in one folder", "error"
                )


# Messages


def _messages(renderer: Renderer, listed: Listed) -> Iterator[Finding]:
    for case, facts in variants(listed.kind, listed.channel, listed.locale).items():
        name = f"{listed.set}/{listed.locale}/{listed.kind}.{PARTS[listed.channel][-1]}"
        try:
            content = renderer.render(_with_data(renderer, listed, facts))
        except TemplateError as error:
            yield _told(error, name)
            continue
        yield from _content(renderer, replace(facts, template=listed.set), content, name, case)


def _with_data(renderer: Renderer, listed: Listed, facts: Facts) -> Facts:
    fields = renderer.data_fields(listed.set, listed.locale, listed.kind, listed.channel)
    made = replace(facts, template=listed.set, data=dict.fromkeys(fields, "Juma A."))
    whatsapp = listed.channel is ChannelName.WHATSAPP
    return _linked(made, renderer.find_approved(made)) if whatsapp else made


def _content(renderer: Renderer, facts: Facts, content: Content, name: str, case: str) -> Iterator[Finding]:
    text = _text(content)
    for wanted in _must_show(renderer, facts):
        if wanted not in text:
            yield Finding(name, None, f"does not show {wanted} ({case} bill)", "error")
    if facts.channel is ChannelName.SMS and not text.startswith(to_gsm(renderer.merchant.name)[:5]):
        yield Finding(name, None, "does not start with the merchant's name", "warning")
    if isinstance(content, TelegramContent):
        yield from _telegram(content.html, name)
    for wrong in rules.in_text(text, facts.channel):
        yield Finding(name, None, wrong.message, "error")


def _text(content: Content) -> str:
    if isinstance(content, EmailContent):
        return f"{content.subject}\n{content.text}\n{rules.without_markup(content.html)}"
    return rules.without_markup(content.html) if isinstance(content, TelegramContent) else content.text


def _must_show(renderer: Renderer, facts: Facts) -> Iterator[str]:
    """What the reader of a message needs, whatever else it says."""
    values = renderer.values(facts, DEFAULT_SET, facts.locale)
    yield facts.number
    paying = facts.kind in (Kind.RECEIPT, Kind.CORRECTION)
    if not paying and not values["payment"]["number_closed"]:
        yield values["amount"]
    if paying:
        shown: Mapping[str, str] = values["payment"]
        yield from filter(None, (shown["amount"], shown["balance"], shown["credit"], shown["next_number"]))


class _Tags(HTMLParser):
    """Collects what Telegram would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag not in _TELEGRAM_TAGS:
            self.wrong.append(f"<{tag}> is not a tag that Telegram takes")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")


def _telegram(html: str, name: str) -> Iterator[Finding]:
    tags = _Tags()
    tags.feed(html)
    tags.close()
    for message in (*tags.wrong, *(f"<{tag}> is not closed" for tag in tags.open if not tags.wrong)):
        yield Finding(name, None, message, "error")
    if len(rules.without_markup(html).strip()) > 4096:
        yield Finding(name, None, "longer than Telegram's 4,096 characters", "error")


# WhatsApp's approved templates


def _mapping(renderer: Renderer) -> Iterator[Finding]:
    for approved in renderer.approved:
        for problem in problems(approved):
            yield Finding(approved.name, None, problem, "error")
        for facts in variants(approved.kind, ChannelName.WHATSAPP, approved.locale).values():
            values = renderer.values(_linked(facts, approved), approved.set, approved.locale)
            try:
                renderer.fill(approved, values)
            except TemplateError as error:
                yield _told(error, approved.name)


def _linked(facts: Facts, approved: Approved | None) -> Facts:
    """A link button was registered for a PUBLIC_URL that is set, so every message that has one has a link."""
    if approved is None or not approved.button or facts.pay_url:
        return facts
    return replace(facts, pay_url=sample_facts(facts.kind, facts.channel, facts.locale).pay_url)


def _told(error: TemplateError, name: str) -> Finding:
    match = _PLACE.fullmatch(str(error))
    if match is None:
        return Finding(name, None, str(error), "error")
    return Finding(match["file"], int(match["line"]) if match["line"] else None, match["message"], "error")
