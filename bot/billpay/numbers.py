"""Control numbers: what is asked of ClickPesa, what it answers, and how both look on the wire.

Amounts are Decimal in shillings; ClickPesa has no currency field, BillPay is TZS. Nothing is sent that ClickPesa
does not document, and nothing is read that must be there but the number itself: creating has answered with the
number alone since August 2026 and with the whole bill before.

Source: ClickPesa API reference, "BillPay" (create, bulk create, details, update; changelog of August 2026).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from bot.domain.bill import BillKind, BillMode
from bot.domain.contact import mask_text
from bot.errors import Problem, Refused

MOST_ITEMS = 50  # in one bulk call
LONGEST_REFERENCE = 20  # written for bulk order items; the careful choice for all
Status = Literal["ACTIVE", "INACTIVE"]

_REFERENCE = re.compile(rf"[A-Za-z0-9]{{1,{LONGEST_REFERENCE}}}", re.ASCII)
# The addresses of other calls: as references they would be answered by those.
_RESERVED = frozenset({"all", "update-status"})
_PHONE = re.compile(r"[0-9]{12}", re.ASCII)
_MODES = {BillMode.EXACT: "EXACT", BillMode.PARTIAL: "ALLOW_PARTIAL_AND_OVER_PAYMENT"}
_SMALLEST = Decimal("0.01")
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})


class NewNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A control number to be made. It will equal `reference`; with None ClickPesa chooses one.

    `cap` is the most that may be collected in all, only with mode `partial`. The customer's members are for kind
    `customer` alone: a name, and a phone (E.164) or a mail address.
    """

    kind: BillKind
    reference: str | None
    amount: Decimal | None = None
    cap: Decimal | None = None
    description: str | None = None
    mode: BillMode = BillMode.PARTIAL
    customer_name: str | None = None
    customer_phone: str | None = None
    customer_email: str | None = None


class Created(msgspec.Struct, frozen=True):
    """An item of a bulk call that was made."""

    number: str


class ItemRefused(msgspec.Struct, frozen=True):
    """An item of a bulk call that was not made.

    `reason` is ClickPesa's, None when the answer does not name the item.
    """

    reason: str | None


class NumberDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A control number as ClickPesa tells of it; what an answer leaves out is None.

    `status` comes only with the answer to an update. `remaining` is what may still be collected under the cap.
    """

    number: str
    amount: Decimal | None = None
    cap: Decimal | None = None
    remaining: Decimal | None = None
    mode: BillMode | None = None
    description: str | None = None
    customer_name: str | None = None
    status: str | None = None


def check(new: NewNumber) -> None:
    """Raise Refused with every reason for which ClickPesa would not take `new`."""
    found = [
        *_reference_problems(new),
        *_money_problems(new.amount, new.cap, new.mode),
        *_customer_problems(new),
    ]
    if found:
        raise Refused(*found)


def _reference_problems(new: NewNumber) -> Iterator[Problem]:
    if new.reference is None:
        return
    if not _REFERENCE.fullmatch(new.reference) or new.reference.lower() in _RESERVED:
        right = f"1 to {LONGEST_REFERENCE} letters and digits"
        yield Problem(field="reference", message="cannot become a control number", expected=right)


def _money_problems(amount: Decimal | None, cap: Decimal | None, mode: BillMode | None) -> Iterator[Problem]:
    right = "0.01 or more, at most 2 decimals"
    for name, value in (("amount", amount), ("cap", cap)):
        if value is not None and not (value.is_finite() and value >= _SMALLEST and value == round(value, 2)):
            yield Problem(field=name, message="is no amount that ClickPesa takes", expected=right)
            return
    if cap is not None and mode is BillMode.EXACT:
        yield Problem(field="cap", message="cannot be had with mode exact", expected="mode partial")
    if cap is not None and amount is not None and cap < amount:
        yield Problem(field="cap", message="is less than the amount", expected="the amount or more")


def _customer_problems(new: NewNumber) -> Iterator[Problem]:
    given = (new.customer_name, new.customer_phone, new.customer_email)
    if new.kind is BillKind.ORDER:
        if any(given):
            yield Problem(
                field="customer", message="does not go with an order number", expected="kind customer"
            )
        return
    if not new.customer_name:
        yield Problem(field="customer_name", message="is missing", expected="whom the number is for")
    if not (new.customer_phone or new.customer_email):
        yield Problem(field="customer_phone", message="is missing", expected="a phone or a mail address")
    if new.customer_phone and not _PHONE.fullmatch(new.customer_phone.removeprefix("+")):
        yield Problem(field="customer_phone", message="is not of 12 digits", expected="such as +255712345678")


def create_body(new: NewNumber, *, plain: bool) -> dict[str, Any]:
    """The documented body of a create call, without what is not set. `plain`: texts as far as possible in ASCII.

    Raises Refused.
    """
    check(new)
    phone = new.customer_phone.removeprefix("+") if new.customer_phone else None
    priced = new.amount is not None or new.cap is not None
    return _without_none(
        {
            "billReference": new.reference,
            "billAmount": _json_amount(new.amount),
            "billMaxCollectionAmount": _json_amount(new.cap),
            "billDescription": _words(new.description, plain=plain),
            "billPaymentMode": _MODES[new.mode] if priced else None,
            "customerName": _words(new.customer_name, plain=plain),
            "customerPhone": phone,
            "customerEmail": new.customer_email,
        }
    )


def update_body(
    *,
    status: Status | None,
    amount: Decimal | None,
    cap: Decimal | None,
    description: str | None,
    mode: BillMode | None,
    plain: bool,
) -> dict[str, Any]:
    """The documented body of an update. Raises Refused, also when there is nothing to change."""
    found = [*_money_problems(amount, cap, mode)]
    if description is not None and len(description) > 500:
        found.append(Problem(field="description", message="is too long", expected="at most 500 characters"))
    body = _without_none(
        {
            "billStatus": status,
            "billAmount": _json_amount(amount),
            "billMaxCollectionAmount": _json_amount(cap),
            "billDescription": _words(description, plain=plain),
            "billPaymentMode": _MODES[mode] if mode is not None else None,
        }
    )
    if not body:
        found.append(Problem(field="$", message="changes nothing", expected="at least one change"))
    if found:
        raise Refused(*found)
    return body


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _json_amount(amount: Decimal | None) -> int | float | None:
    # Whole amounts without a point: servers differ in how they print 100.0 when they check what was signed.
    if amount is None or not amount.is_finite():
        return None
    return int(amount) if amount == int(amount) else float(amount)


def _words(text: str | None, *, plain: bool) -> str | None:
    """`plain` writes Ada for Adá: what is signed then does not depend on how the other side escapes it."""
    if text is None or not plain or text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text.translate(_TYPOGRAPHY))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def read_number(answer: Any) -> str | None:
    """The control number of an answer, None if it names none."""
    found = answer.get("billPayNumber") if isinstance(answer, Mapping) else None
    return found if isinstance(found, str) and found else None


def read_details(answer: Any, number: str) -> NumberDetails:
    """An answer about `number`; what it leaves out or what cannot be read is None."""
    found = answer if isinstance(answer, Mapping) else {}
    mode = next((ours for ours, theirs in _MODES.items() if theirs == found.get("billPaymentMode")), None)
    return NumberDetails(
        number=read_number(found) or number,
        amount=_amount(found.get("billAmount")),
        cap=_amount(found.get("billMaxCollectionAmount")),
        remaining=_amount(found.get("billRemainingAmount")),
        mode=mode,
        description=_text(found.get("billDescription")),
        customer_name=_text(found.get("billCustomerName")),
        status=_text(found.get("billStatus")),
    )


def read_bulk(answer: Any, references: Sequence[str]) -> list[Created | ItemRefused]:
    """What became of each item, in the order of `references`.

    The list of made numbers has no gaps for what failed, so positions say nothing: items are found by reference.
    """
    found = answer if isinstance(answer, Mapping) else {}
    made = {name.lower(): name for name in _list(found.get("billPayNumbers")) if isinstance(name, str)}
    reasons = {
        error.get("index"): mask_text(str(error.get("reason") or ""))[:200] or None
        for error in _list(found.get("errors"))
        if isinstance(error, Mapping)
    }
    return [
        Created(made[reference.lower()]) if reference.lower() in made else ItemRefused(reasons.get(index))
        for index, reference in enumerate(references)
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def equal(new: NewNumber, found: NumberDetails) -> bool:
    """Whether `found` is what `new` asked for: then an earlier try made it.

    Texts are compared as plain words, and only those that the answer has; the money must agree.
    """
    priced = new.amount is not None or new.cap is not None
    return (
        found.number.lower() == (new.reference or "").lower()
        and found.amount == new.amount
        and found.cap == new.cap
        and (not priced or found.mode in (None, new.mode))
        and _same_words(new.description, found.description)
        and _same_words(new.customer_name, found.customer_name)
    )


def _same_words(asked: str | None, found: str | None) -> bool:
    return found is None or _bare(asked) == _bare(found)


def _bare(text: str | None) -> str:
    return " ".join((_words(text, plain=True) or "").split()).casefold()
