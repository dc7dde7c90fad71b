"""Control numbers that are to be made, and what ClickPesa is to be told of those that exist.

Between the engine, which knows what waits and keeps the reference before anything is asked, and `bot.billpay`, which
asks. Amounts are Decimal in major units.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from bot.domain.bill import BillKind, BillMode
from bot.errors import Problem

NO_CLICKPESA = Problem(
    field="create",
    message="cannot be done: tuma has no credentials of ClickPesa",
    expected="CLICKPESA_CLIENT_ID and CLICKPESA_API_KEY, or a number that exists",
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One number to be made under `reference`, which is on record. `tries` were made before, and may have worked.

    `member` says for what: `c:<claim>`, or `n:<number>` for the balance of a closed one.
    """

    partition: int
    member: str
    reference: str
    tries: int
    kind: BillKind
    amount: Decimal
    currency: str
    mode: BillMode
    description: str | None = None
    name: str | None = None
    phone: str | None = None
    email: str | None = None


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What ClickPesa is to be told of a number: its status, what is owed, or both. Neither: there is nothing to tell.

    `version` tells this state from a later one. `description` and `mode` go with the amount when ClickPesa may have
    others.
    """

    number: str
    version: str
    status: Literal["ACTIVE", "INACTIVE"] | None = None
    amount: Decimal | None = None
    description: str | None = None
    mode: BillMode | None = None


class Made(msgspec.Struct, frozen=True):
    """What became of a number that was made.

    `taken`: it is in use; `unneeded`: nobody owes for it any more, and ClickPesa is told to close it; `stale`: nobody
    waited for it; `amount`: something else is owed now than it was made for.
    """

    outcome: Literal["taken", "unneeded", "stale", "amount"]
    amount: Decimal | None = None


BillState = Literal["creating", "refused", "open", "held", "settled", "closed", "stopped"]


class BillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A bill that tuma was asked to make. `number` is empty while it is `creating`, and if it was `refused` (`reason`).

    `repeated`: the same was asked for before.
    """

    id: str
    state: BillState
    number: str
    kind: BillKind
    reason: str | None = None
    repeated: bool = False
