"""Addresses of people, parsed once into one form, and masked wherever they are shown.

A phone becomes E.164 and must be a mobile; a mail address gets a lower-case ASCII domain; a Telegram chat is
the digits of a private chat. What is doubtful is refused with a reason instead of being guessed. Nothing here
asks a network whether an address is in use.

Sources: libphonenumber metadata (mobile pattern of Tanzania, valid numbers elsewhere); RFC 5321 section
4.5.3.1 (lengths); Telegram Bot API, Chat (ids have at most 52 significant bits, those of people are
positive).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from bot.errors import Problem

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

MASK = "•••"


class BadContact(ValueError):
    """An address that cannot be used. `reason` is a key of `REASONS`, which holds the wording."""

    REASONS: ClassVar[Mapping[str, str]] = {}
    EXPECTED: ClassVar[str] = ""

    def __init__(self, reason: str) -> None:
        super().__init__(self.REASONS[reason])
        self.reason = reason

    def problem(self, field: str, given: str) -> Problem:
        """What to tell the producer; `given` is masked, but for the marks that a spreadsheet left on it.

        What is too short to be a number shows its last 4 characters: they call nobody.
        """
        if self.reason == "spreadsheet":
            shown = _ruins(given.strip())
        else:
            shown = given.strip()[-4:] if self.reason == "short" else mask(given)
        return Problem(field=field, message=str(self), given=shown, expected=self.EXPECTED)


def _ruins(text: str) -> str:
    """Such as "2.5•••E+11": enough to find the cell, too little to call anybody."""
    end = re.search(r"[eE.,][+-]?[0-9]{1,3}$|[.,]0+$", text)
    return f"{text[:3]}{MASK}{end[0] if end else ''}"


class BadPhone(BadContact):
    """Not a phone number that an SMS can reach."""

    EXPECTED = "a mobile number such as 0754 123 456 or +255754123456"
    REASONS: ClassVar[Mapping[str, str]] = {
        "empty": "the phone is empty",
        "spreadsheet": "the phone was mangled by a spreadsheet; format its column as text",
        "characters": "the phone holds characters that no phone number has",
        "extension": "the phone has an extension, which no SMS can reach",
        "short": "the phone is too short",
        "invalid": "the phone is not a number that exists",
        "landline": "the phone is not a mobile number",
    }


class BadEmail(BadContact):
    """Not a mail address."""

    EXPECTED = "one address such as asha@example.com"
    REASONS: ClassVar[Mapping[str, str]] = {
        "empty": "the mail address is empty",
        "invalid": "the mail address is not valid",
        "long": "the mail address is longer than 254 characters",
    }


class BadChat(BadContact):
    """Not a Telegram chat with a person."""

    EXPECTED = "the chat id in digits, or null until the customer links the chat"
    REASONS: ClassVar[Mapping[str, str]] = {
        "empty": "the Telegram chat id is empty",
        "spreadsheet": "the Telegram chat id was mangled by a spreadsheet; format its column as text",
        "invalid": "the Telegram chat id is not the id of a private chat",
    }


# What a spreadsheet makes of a long number: 5.5E+13, 2,55754E+11, 255754123456.0
_MANGLED = re.compile(r"\+?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+|\+?[0-9]{4,}[.,]0+", re.ASCII)

# Direction marks and zero-width characters come along when numbers are pasted from chats and contact lists.
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
_SEPARATORS = _INVISIBLE | dict.fromkeys(
    map(ord, " -().\t\u00a0\u202f\u2009\u2010\u2011\u2012\u2013\u2014\u2212")
)
_TZ_MOBILE = re.compile(r"(?:(?:\+|00)?2550?|0)?((?:6[0-35-9]|7[0-9])[0-9]{7})", re.ASCII)
_DIGITS = re.compile(r"\+?[0-9]{6,20}", re.ASCII)
_SHORT = re.compile(r"\+?[0-9]{0,5}", re.ASCII)
_EXTENSION = re.compile(r"[0-9]\s*(?:;?\s*ext\.?|extn\.?|x|#|;|,)\s*[.:=]?\s*[0-9]{1,7}", re.IGNORECASE)

_EMAIL = re.compile(
    r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@"
    r"((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9]))",
    re.ASCII,
)


def mangled(text: str) -> bool:
    """Whether `text` is a number as a spreadsheet rewrote it, its digits lost or uncertain."""
    return _MANGLED.fullmatch(text) is not None


def phone(text: str, region: str = "TZ") -> str:
    """A mobile number in E.164, from any usual way of writing it in `region` (ISO 3166). Raises BadPhone."""
    text = text.strip()
    bare = text.translate(_SEPARATORS)
    # Nearly every number of nearly every campaign: decided without the metadata of the world's numbering
    # plans.
    if region == "TZ" and (match := _TZ_MOBILE.fullmatch(bare)) and not mangled(text):
        return "+255" + match[1]
    return _foreign_phone(text, bare, region)


def _foreign_phone(text: str, bare: str, region: str) -> str:
    if not bare:
        raise BadPhone("empty")
    if mangled(text):
        raise BadPhone("spreadsheet")
    ascii_digits = "".join(str(int(c)) if c.isdecimal() else "+" if c == "＋" else c for c in bare)
    if _SHORT.fullmatch(ascii_digits):
        raise BadPhone("short")
    if not _DIGITS.fullmatch(ascii_digits):
        raise BadPhone("extension" if _EXTENSION.search(text) else "characters")
    return _parsed_phone(ascii_digits, region)


def is_region(code: str) -> bool:
    """Whether the phone library knows the numbers of this region (ISO 3166, two capital letters)."""
    from phonenumbers import SUPPORTED_REGIONS

    return code in SUPPORTED_REGIONS


def _parsed_phone(number: str, region: str) -> str:
    import phonenumbers

    for candidate in _readings(number):
        try:
            parsed = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            return _mobile(parsed)
    raise BadPhone("invalid")


def _readings(number: str) -> list[str]:
    """The number as it stands, then with 00 as international prefix.

    People write it where the plan says 000.
    """
    return [number, f"+{number[2:]}"] if number.startswith("00") else [number]


def _mobile(parsed: PhoneNumber) -> str:
    from phonenumbers import PhoneNumberFormat, PhoneNumberType, format_number, number_type

    if number_type(parsed) not in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE):
        raise BadPhone("landline")
    return format_number(parsed, PhoneNumberFormat.E164)


def email(text: str) -> str:
    """One mail address with a lower-case ASCII domain; the part before the @ is kept as it is.

    Raises BadEmail.
    """
    text = text.strip()
    match = _EMAIL.fullmatch(text)
    if match and len(text) <= 254 and len(match[1]) <= 64:
        return f"{match[1]}@{match[2].lower()}"
    return _rare_email(text)


def _rare_email(text: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    if not text:
        raise BadEmail("empty")
    if len(text) > 254:
        raise BadEmail("long")
    try:
        # Mail servers that take non-ASCII mailboxes are still rare: such an address would only bounce.
        found = validate_email(text, allow_smtputf8=False, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise BadEmail("invalid") from error
    if len(found.local_part) > 64:
        raise BadEmail("invalid")
    return f"{found.ascii_local_part}@{(found.ascii_domain or '').lower()}"


def telegram(value: str | int) -> str:
    """The id of a private chat, in digits. Raises BadChat."""
    text = str(value).strip()
    if not text:
        raise BadChat("empty")
    if mangled(text):
        raise BadChat("spreadsheet")
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and 0 < int(text) < 2**52):
        raise BadChat("invalid")
    return str(int(text))


def mask(address: str) -> str:
    """An address that its owner recognises and nobody else can use.

    "+255•••3456", "a•••@example.com", "•••89".
    """
    text = address.strip()
    local, at, domain = text.rpartition("@")
    if at:
        return f"{local[:1]}{MASK}@{domain}"
    if text.startswith("+") and len(text) >= 11:
        return f"{text[:4]}{MASK}{text[-4:]}"
    return f"{MASK}{text[-3:]}" if len(text) >= 8 else MASK


_MAIL_IN_TEXT = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
# With a plus any number; without one only Tanzanian mobiles, so that control numbers, amounts and times stay
# legible.
_PHONE_IN_TEXT = re.compile(
    r"(?:\+|%2B)[0-9](?:[ .()-]{0,2}[0-9]){8,14}(?![0-9])"
    r"|(?<![0-9.])(?:0{0,3}255[ -]?0?|0)?[67][0-9]{2}[ .-]?[0-9]{3}[ .-]?[0-9]{3}(?![0-9])",
    re.ASCII | re.IGNORECASE,
)


def mask_text(text: str) -> str:
    """Free text, such as a log line or a provider's error, with its phones and mail addresses masked."""
    if "@" in text:
        text = _MAIL_IN_TEXT.sub(lambda match: mask(match[0]), text)
    return _PHONE_IN_TEXT.sub(_masked_match, text)


def _masked_match(match: re.Match[str]) -> str:
    numerals = "".join(c for c in match[0].upper().removeprefix("%2B") if c.isdecimal())
    return f"+{numerals[:3]}{MASK}{numerals[-4:]}" if numerals.startswith("255") else f"{MASK}{numerals[-4:]}"
