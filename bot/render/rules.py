"""What a message must not say: words that mislead a customer, or that make an honest message look like a
fraud.

Finds wording in template sources (with line numbers) and in rendered texts. It knows Swahili and English; it
reads sentences, not intentions, and says so by being strict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from channels.base import ChannelName

_WORDS = re.IGNORECASE
_SENTENCE = re.compile(r"[^.!?;\n]+")

_PIN = re.compile(
    r"\b(?:pins?|otp|passwords?|passcodes?|nywila|secret (?:code|number)|neno (?:lako )?(?:la )?siri"
    r"|namba(?:ri)? (?:yako |zako )?(?:ya |za )?siri)\b",
    _WORDS,
)
_NO = re.compile(
    r"\b(?:never|nobody|no one|not|cannot|don['’]t|won['’]t|doesn['’]t|kamwe|hakuna|sio|siyo"
    r"|usi\w+|msi\w+|hatu\w+|hata\w+|hawa\w+|haombi|hai\w+)\b",
    _WORDS,
)
# "Do not forget to send your PIN" is no warning.
_YES_AFTER_ALL = re.compile(
    r"\b(?:forget|hesitate|fail to|wait to|usisahau|usisite|msisahau|usichelewe)\b", _WORDS
)

_REPLY_STOP = re.compile(
    r"\b(?:reply|respond|answer|text|sms|send|jibu|tuma|andika|ukijibu|kwa kujibu)\b[^.!?\n]{0,40}?"
    r"\b(?:stop|unsubscribe|quit|cancel|end|acha|sitisha|ondoa|koma|simama|jitoe)\b"
    r"|\bSTOP (?:to|kwa|kwenda|ili)\b",
    _WORDS,
)
_GOVERNMENT = re.compile(r"malipo ya serikali|government(?:al)? (?:payment|bill)s?|\bgepg\b", _WORDS)

_PHONE = re.compile(r"(?<![\d/=.-])(?:\+?255[ -]?|0)[67]\d{2}[ -]?\d{3}[ -]?\d{3}(?!\d)")
_PAYING = re.compile(
    r"\b(?:\w{0,3}lip(?:a|ia|e|ie|wa)|malipo|tum(?:a|ia|e|eni)|wek(?:a|eni)|pesa|hela|fedha|pay\w*|send|transfer"
    r"|deposit|m-?pesa|mixx|airtel|halopesa|tigo)\b",
    _WORDS,
)
_ASKING = re.compile(
    r"\b(?:maswali|swali|piga|kupiga|wasiliana|msaada|uliza|call|questions?|contact|help|ask|phone us)\b",
    _WORDS,
)
_PAY_TO = re.compile(
    r"\b(?:lipa|lipia|tuma|weka|pay|send|transfer|deposit)\b(?: [\w,']+){0,4}? (?:to|into|kwa|kwenda|kwenye)"
    r"(?: (?:namba|nambari|number|simu|phone|ya|the))* ?$",
    _WORDS,
)
# Long enough to be a control number or an account; company numbers are shorter.
_FIXED_NUMBER = re.compile(r"(?<![\w#/=.-])\d{9,20}(?!\w)")

_TAG = re.compile(r"<!--.*?-->|<style.*?</style>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(?:a|b|i|u|s|em|strong|span|code|small)\b", re.IGNORECASE)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_LITERAL = re.compile(r"\"[^\"]*\"|'[^']*'")
_SOME_PHONE = "0754000111"


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing a text should not say, `at` an offset. `fatal` ones stop a campaign."""

    at: int
    message: str
    fatal: bool = True


def in_source(source: str, channel: ChannelName, html: bool) -> Iterator[Wrong]:
    """Everything wrong in the wording of a template; offsets are into `source`."""
    text = _readable(_COMMENT.sub(_blank, source), html)
    yield from in_text(text, channel)
    for phone in _PHONE.finditer(_without_contact(text)):
        yield Wrong(
            phone.start(), "a phone number written into the template; use {{ merchant_contact }}", fatal=False
        )
    for number in _FIXED_NUMBER.finditer(_PHONE.sub(_blank, text)):
        yield Wrong(
            number.start(), "a number written into the template, the same for everybody; use {{ number }}"
        )


def in_text(text: str, channel: ChannelName) -> Iterator[Wrong]:
    """Everything that misleads in a text, whoever wrote it."""
    if channel is ChannelName.SMS:
        for match in _REPLY_STOP.finditer(text):
            yield Wrong(
                match.start(), 'asks for a reply such as "reply STOP", but SMS is one-way in Tanzania'
            )
    for sentence in _SENTENCE.finditer(text):
        for wrong in _in_sentence(sentence[0]):
            yield Wrong(sentence.start() + wrong.at, wrong.message)


def without_markup(html: str) -> str:
    """The words of an HTML text, at the same offsets."""
    return _TAG.sub(_unmarked, html.replace("\n", " "))


# A template is rendered for hundreds of bills, which say most of their sentences alike.
@lru_cache(maxsize=4096)
def _in_sentence(sentence: str) -> tuple[Wrong, ...]:
    return tuple(_wrong(sentence))


def _wrong(sentence: str) -> Iterator[Wrong]:
    for match in _PIN.finditer(sentence):
        if not _warned(sentence, match.start()):
            yield Wrong(match.start(), "asks for a PIN or password; only warn that nobody may ask for it")
    for match in _GOVERNMENT.finditer(sentence):
        if not _warned(sentence, match.start()):
            yield Wrong(match.start(), "points to the government-payments menu, which cannot find the number")
    for match in _PHONE.finditer(sentence):
        if _is_payee(sentence, match.start()):
            yield Wrong(match.start(), "a bare phone number to pay to; only the control number may be paid")


def _warned(sentence: str, mention: int) -> bool:
    return bool(_NO.search(sentence, 0, mention)) and not _YES_AFTER_ALL.search(sentence, 0, mention)


def _is_payee(sentence: str, phone: int) -> bool:
    if _PAY_TO.search(sentence[:phone]):
        return True
    return bool(_PAYING.search(sentence)) and not _ASKING.search(sentence)


def _readable(source: str, html: bool) -> str:
    """The words a template prints, at the same offsets: its own text and the literals in its expressions."""
    text = _EXPRESSION.sub(_spoken, _STATEMENT.sub(_blank, source))
    return without_markup(text) if html else text


def _spoken(match: re.Match[str]) -> str:
    if "merchant_contact" in match[0] and len(match[0]) >= len(_SOME_PHONE):
        return _SOME_PHONE.center(len(match[0]))
    spoken = [" "] * len(match[0])
    for literal in _LITERAL.finditer(match[0]):
        spoken[literal.start() + 1 : literal.end() - 1] = literal[0][1:-1]
    return "".join(spoken)


def _without_contact(text: str) -> str:
    return text.replace(_SOME_PHONE, " " * len(_SOME_PHONE))


def _unmarked(match: re.Match[str]) -> str:
    # A block ends a sentence; a bold word does not.
    return _blank(match) if _INLINE_TAG.match(match[0]) else "\n" + " " * (len(match[0]) - 1)


def _blank(match: re.Match[str]) -> str:
    return "\n".join(" " * len(line) for line in match[0].split("\n"))
