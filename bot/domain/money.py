"""Amounts of money: exact decimals in major units outside, whole minor units inside.

Nothing here rounds: an amount with more decimals than its currency has is refused, and so is everything that
is not a plain positive decimal. Sums of amounts stay far below 2**53 minor units, which Lua and JavaScript
count exactly.

Source: ISO 4217 list one (active codes and their minor units).
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

LARGEST = Decimal("999999999999.9999")
_TOO_LARGE = "is too large: it has more than 12 digits"

_TWO_DIGITS = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
    CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
    HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON
    RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD
    TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - a list of 130 literals is no easier to check against the standard
)
_OTHER_DIGITS = dict.fromkeys(
    (
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ),
    0,
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)

_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?", re.ASCII)
_SPREADSHEET = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+", re.ASCII)
_GROUPED = re.compile(
    r"[0-9]{1,3}(?:[ ,'\u00a0\u202f][0-9]{3})+(?:\.[0-9]+)?"
    r"|[0-9]{1,3}(?:\.[0-9]{3})+(?:\.[0-9]{3}|,[0-9]+)",
    re.ASCII,
)
_DECIMAL = re.compile(r"([0-9]+)(?:\.[0-9]+)?", re.ASCII)


def digits(currency: str) -> int:
    """How many decimals `currency` (ISO 4217, upper case) has.

    Raises ValueError for a code that is not in use.
    """
    if currency in _TWO_DIGITS:
        return 2
    try:
        return _OTHER_DIGITS[currency]
    except KeyError:
        raise ValueError("is not a currency of ISO 4217") from None


def to_minor(amount: Decimal, currency: str) -> int:
    """Amount in minor units. Raises ValueError when `amount` has more decimals than the currency."""
    places = digits(currency)
    minor = amount.scaleb(places)
    whole = int(minor)
    if whole != minor:
        raise ValueError(f"has more decimals than {currency} has ({places})")
    return whole


def check_written(amount: Decimal, currency: str) -> None:
    """Refuse decimals that `currency` does not have even if they are zeros: 45.000 is rarely meant as 45.

    Raises ValueError.
    """
    places, written = digits(currency), -int(amount.as_tuple().exponent)
    if written <= places:
        return
    doubt = "; the point looks like a thousands separator" if written == 3 else ""
    raise ValueError(f"has more decimals than {currency} has ({places}){doubt}")


@lru_cache(maxsize=8192)
def from_minor(minor: int, currency: str) -> Decimal:
    """Amount in major units, with all decimals of the currency."""
    return Decimal(minor).scaleb(-digits(currency))


def plain(minor: int, currency: str) -> str:
    """Amount as text for machines: "45000", "12.50", "-3".

    Whole amounts without decimals, never an exponent.
    """
    places = digits(currency)
    unit = 10**places
    whole, part = divmod(abs(minor), unit)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole}.{part:0{places}d}" if part else f"{sign}{whole}"


def parse_amount(value: str | int | Decimal) -> Decimal:
    """A positive amount from plain decimal text, a whole number or a Decimal.

    Raises ValueError, whose text completes the sentence "the amount ...", for anything else: floats,
    exponents, thousands separators, zero, negative and unreasonably large amounts.
    """
    amount = _exact(value)
    if not amount.is_finite() or amount <= 0:
        raise ValueError("must be more than 0")
    if amount > LARGEST:
        raise ValueError(_TOO_LARGE)
    return amount


def _exact(value: object) -> Decimal:
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be text or a whole number: a float cannot hold money exactly")
    return Decimal(value)


def _from_text(text: str) -> Decimal:
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    if _SPREADSHEET.fullmatch(text):
        raise ValueError("was mangled by a spreadsheet into exponent form")
    if _GROUPED.fullmatch(text):
        raise ValueError("must not have thousands separators")
    if re.fullmatch(r"-[0-9.]+", text):
        raise ValueError("must be more than 0")
    if match := _DECIMAL.fullmatch(text):
        raise ValueError(_TOO_LARGE if len(match[1]) > 12 else "has more than 4 decimals")
    raise ValueError("is not a plain decimal number")
