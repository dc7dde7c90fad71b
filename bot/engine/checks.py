"""Is this bill real? What anybody may learn of a control number: whether it is ours, how it stands, what is owed.

Never a name, a description or a payment, and one and the same answer for every number that is not ours. Each asker is
counted in a window that begins with the first question; who asks is kept as a hash alone, and only for that window.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

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


class Checks:
    """Answers askers."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def ask(self, number: str, kind: Asker, asker: str) -> Checked | None:
        """What may be said of a number as somebody typed it; None if it is not ours. One round trip.

        Raises TooOften, StoreUnavailable.
        """
        bare = re.sub(r"[\s.\-]", "", number)
        place = keys.checks(hashlib.sha256(f"{kind}:{asker}".encode()).hexdigest()[:32])
        p = self._records.partition(bare)
        with guard():
            pipe = self._records.client.pipeline()
            pipe.incr(place)
            pipe.expire(place, WINDOW_S, nx=True)
            pipe.hgetall(f"{keys.prefix(p)}a:{bare if _NUMBER.fullmatch(bare) else ''}")
            count, _, account = await pipe.execute()
        if count > MOST[kind]:
            raise TooOften(first=count == MOST[kind] + 1)
        return _checked(account) if account else None


def _checked(account: dict[str, str]) -> Checked:
    currency = account["cur"]
    owed = sum(views.balance(account, term) for term in views.terms_of(account))
    return Checked(views.status(account), from_minor(owed, currency), currency)
