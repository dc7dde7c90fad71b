"""How a bill stands, in the words and amounts that ClickPesa is told: what a payer sees who looks the number up.

ClickPesa takes no amount of nothing, and an INACTIVE customer number could not be paid to when the next bill goes out
before ClickPesa has heard of it. So a customer number of which nothing is owed stays open there, and its words say that
it is paid.
"""

from __future__ import annotations

from collections.abc import Mapping

from bot.domain.bill import BillKind, BillMode
from bot.domain.creation import Telling
from bot.domain.money import from_minor
from bot.engine import views

_BILL, _PAID = "Bili / bill ", " (imelipwa / paid)"
_LONGEST = 500  # Source: ClickPesa API reference, "Update BillPay number"


def telling(number: str, version: str, account: Mapping[str, str], owed: int | None = None) -> Telling:
    """What ClickPesa is to be told of an account. `owed`: minor units, where the account does not say it yet."""
    terms, state = views.terms_of(account), account.get("st")
    if owed is None:
        owed = sum(views.balance(account, term) for term in terms)
    order = account.get("kind") == BillKind.ORDER
    # A customer's number is theirs for good; only who cancels it closes it.
    if state is None or account.get("cxl") == "1" or (order and owed <= 0 and state != "closed"):
        return Telling(number=number, version=version, status="INACTIVE")
    dead = state == "closed" or (order and account.get("shut") == "1")
    asked = _asked(account, terms)
    words = _words(account, terms, asked)
    if dead or (owed <= 0 and words is None):
        return Telling(number=number, version=version)
    amount = owed if asked == terms[-1] else views.balance(account, asked)
    if owed <= 0 and words is not None:
        amount, words = views.total(account, asked), words[: _LONGEST - len(_PAID)] + _PAID
    modes = {account[f"tm:{term}"] for term in terms}
    return Telling(
        number=number,
        version=version,
        status="ACTIVE" if account.get("act") == "1" else None,
        amount=from_minor(amount, account["cur"]),
        description=words,
        mode=BillMode(account[f"tm:{asked}"]) if "heal" in account or len(modes) > 1 else None,
    )


def _asked(account: Mapping[str, str], terms: list[str]) -> str:
    """The term that is shown: the newest, with all that is owed.

    But of an exact number whose oldest unpaid term is asked for by messages of its own only that one, until it is paid:
    it takes one amount, and must take what the customer was told.
    """
    first = next((term for term in terms if views.balance(account, term)), terms[-1])
    spoken = first in {value for field, value in account.items() if field.startswith("sh:")}
    return first if spoken and account[f"tm:{first}"] == BillMode.EXACT else terms[-1]


def _words(account: Mapping[str, str], terms: list[str], asked: str) -> str | None:
    """What ClickPesa shows the bill as; one without words has its name, for there may be those of another term."""
    named = _BILL + asked if len(terms) > 1 else None
    return account.get(f"tx:{asked}") or named
