"""Is this bill real? What anybody may learn of a control number: whether it is ours, how it stands, what is owed.

Never a name, a description or a payment, and one and the same answer for every number that is not ours. Each asker is
counted in a window that begins with the first question; who asks is kept as a hash alone, and only for that window.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

from bot.domain.bill import BillStatus
from bot.domain.money import from_minor
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.store import guard
from bot.errors import TumaError

WINDOW_S = 3600
# Whole networks of phones stand behind one address of the internet, a chat is one person.
MOST = {"web": 60, "telegram": 10, "whatsapp": 10}
_NUMBER = re.compile(r"[A-Za-z0-9]{1,20}")
_SPACED = re.compile(r"[\s.\-]")
_AROUND = " \t\r\n:;,.!?#()"
# In a sentence: digits in one piece, then digits in groups, then letters and digits. Shorter ones are times and dates.
_IN_WORDS = (
    re.compile(r"(?<![A-Za-z0-9])[0-9]{10,20}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])[0-9](?:[\s.\-]?[0-9]){5,19}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])(?=(?:[A-Za-z]*[0-9]){4})[A-Za-z0-9]{6,20}(?![A-Za-z0-9])"),
)
_FEW_NEXT = 16
Asker = Literal["web", "telegram", "whatsapp"]


class TooOften(TumaError):
    """An asker has used up the window. `first`: this is the first question too many."""

    def __init__(self, *, first: bool) -> None:
        super().__init__("too many questions")
        self.first = first


@dataclass(frozen=True, slots=True)
class Checked:
    """A number of ours. `amount` is owed in all, in major units; 0 if nothing is."""

    status: BillStatus
    amount: Decimal
    currency: str


def number_in(text: str) -> str | None:
    """The number that somebody typed, alone or in a sentence, without its spaces; None if there is none.

    Characters that nobody sees (zero-width spaces, marks of direction) come along when a number is copied from a chat.
    """
    seen = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    groups = [group for group in _SPACED.split(seen.strip(_AROUND)) if group]
    whole = "".join(groups)
    # Alone: in one piece, or digits in any groups, or letters and digits in the groups that pages and PDFs show.
    alone = len(groups) == 1 or whole.isdigit() or {len(group) for group in groups[:-1]} == {4}
    if alone and _NUMBER.fullmatch(whole) and any(each.isdigit() for each in whole):
        return whole
    for pattern in _IN_WORDS:
        if found := pattern.findall(seen):
            return _SPACED.sub("", max(found, key=len))
    return None


class Checks:
    """Answers askers."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def ask(self, number: str, kind: Asker, asker: str) -> Checked | None:
        """What may be said of a number as somebody typed it; None if it is not ours.

        One round trip, and one for each number that came after a closed one. Raises TooOften, StoreUnavailable.
        """
        bare = number_in(number) or ""
        place = keys.checks(hashlib.sha256(f"{kind}:{asker}".encode()).hexdigest()[:32])
        # Whoever types a number of letters and digits cares little for capitals, and phones choose them.
        forms = [
            (self._records.partition(each), each)
            for each in dict.fromkeys((bare, bare.upper(), bare.lower()))
        ]
        with guard():
            pipe = self._records.client.pipeline()
            pipe.incr(place)
            pipe.expire(place, WINDOW_S, nx=True)
            for p, form in forms:
                pipe.hgetall(f"{keys.prefix(p)}a:{form}")
            count, _, *found = await pipe.execute()
        if count > MOST[kind]:
            raise TooOften(first=count == MOST[kind] + 1)
        p, account = next(((p, each) for (p, _), each in zip(forms, found, strict=True) if each), (0, None))
        return _checked(account, await self._last(p, account)) if account else None

    async def _last(self, p: int, account: dict[str, str]) -> dict[str, str]:
        """The record of the number that stands for it now; numbers of one bill live beside each other."""
        last = account
        for _ in range(_FEW_NEXT):
            if not last.get("next"):
                break
            with guard():
                found = await self._records.client.hgetall(f"{keys.prefix(p)}a:{last['next']}")
            last = cast(dict[str, str], found)
        return last


def _checked(account: dict[str, str], last: dict[str, str]) -> Checked:
    if last is not account and last and views.status(last) is BillStatus.SETTLED:
        account = last
    currency = account["cur"]
    owed = sum(views.balance(account, term) for term in views.terms_of(account))
    return Checked(views.status(account), from_minor(owed, currency), currency)
