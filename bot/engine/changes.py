"""Changes of bills that are out: what the customers' shares say and when they remind follows in one step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from bot.domain.bill_change import BillChange
from bot.domain.calendar import from_ms, reminder_times, to_ms
from bot.domain.creation import Telling
from bot.domain.money import from_minor, plain, to_minor
from bot.engine import views
from bot.engine.records import Records
from bot.engine.scripts import now_ms, text
from bot.engine.shares import INSTRUCTIONS_VALID
from bot.engine.standing import telling
from bot.errors import Conflict, Problem, Refused, no_bill
from bot.settings import Settings

_TRIES = 5
# Longer than a change can take at ClickPesa with all its tries.
HEALS_AFTER_MS = 120_000
Fields = Mapping[str, str]


class Applied(msgspec.Struct, frozen=True):
    """What a change did: the number that stands for the bill, messages made and cancelled."""

    number: str
    messages: int
    canceled: int


class BillChanges:
    """Changes bills in all partitions."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._records, self._settings = records, settings

    async def live(self, number: str) -> tuple[str, dict[str, str]]:
        """The number that stands for a bill now, and its record. Raises NotFound."""
        account = await self._records.account(number)
        while following := account.get("next"):
            number, account = following, await self._records.account(following)
        return number, account

    async def after(self, number: str, change: BillChange) -> tuple[Decimal, Telling]:
        """What will be owed once a bill is changed, and what ClickPesa is to be told then.

        Raises NotFound, Refused if it cannot be changed so.
        """
        number, account = await self.live(number)
        terms = views.terms_of(account)
        term = change.term or terms[-1]
        _check(account, term, change)
        after = _changed(account, terms, term, change)
        owed = sum(
            max(views.minor(after, f"ta:{each}") - views.minor(after, f"mv:{each}"), 0)
            for each in views.terms_of(after)
        )
        # What is above one bill pays another, so all that was paid counts, credit too.
        owed = max(owed - views.minor(account, "paid"), 0)
        return from_minor(owed, account["cur"]), telling(number, "", after, owed)

    async def apply(self, number: str, change: BillChange, *, told: Decimal | None, by: str) -> Applied:
        """Change the bill. `told` is what ClickPesa was told is owed. Raises NotFound, Refused, Conflict."""
        for _ in range(_TRIES):
            live, account = await self.live(number)
            p, now, scripts = self._records.partition(live), now_ms(), self._records.scripts
            args = await self._args(live, account, change, told)
            reply = await scripts.run_kept(scripts.change(p, now, live, args))
            if reply[0] == "ok":
                await self._records.audit(by, "change bill", live, now)
                return Applied(reply[1], int(reply[2]), int(reply[3]))
            if reply[0] == "unknown":
                raise no_bill(number)
            if reply[0] == "refused":
                raise Refused(Problem(field=reply[1], message=reply[2]))
        raise Conflict(Problem(field="number", message="its shares change too often right now; try again"))

    async def expect(self, number: str) -> None:
        """ClickPesa is about to be told of a change: should it not become one here, ClickPesa hears how it stands."""
        p, scripts = self._records.partition(number), self._records.scripts
        await scripts.run(scripts.sync_expect(p, number, now_ms() + HEALS_AFTER_MS))

    async def cancel(self, number: str, *, by: str) -> Applied:
        """Ask for nothing more, and let ClickPesa take no payment any more. Raises NotFound."""
        live, _ = await self.live(number)
        p, now, scripts = self._records.partition(live), now_ms(), self._records.scripts
        call = scripts.stop(p, now, live, by, cancel=True, sync=self._settings.makes_numbers)
        canceled = await scripts.run_kept(call)
        await self._records.audit(by, "cancel bill", live, now)
        return Applied(live, 0, canceled)

    async def _args(
        self, number: str, account: dict[str, str], change: BillChange, told: Decimal | None
    ) -> dict[str, Any]:
        currency = account["cur"]
        term = change.term or views.terms_of(account)[-1]
        fresh = f"ta:{term}" not in account
        replan = fresh or change.no_due or change.due_at is not None or change.reminders is not None
        shares = await self._records.shares_of(number, account) if replan else []
        return {
            "term": term,
            "amount": "" if change.amount is None else str(to_minor(change.amount, currency)),
            "desc": text(change.description),
            "due": str(to_ms(change.due_at)) if change.due_at else "",
            "nodue": "1" if change.no_due else "0",
            "mode": text(change.mode),
            "active": "1" if change.status == "ACTIVE" else "0",
            "replan": "1" if replan else "0",
            "plans": {s["sid"]: self._plan(s, account, term, change) for s in shares},
            "rem": views.plan_text(change.reminders) if change.reminders else "",
            "notify": "1" if change.notify else "0",
            "valid": str(now_ms() + int(INSTRUCTIONS_VALID.total_seconds() * 1000)),
            "told": "" if told is None else str(to_minor(told, currency)),
            "policy": self._settings.payment_policy(),
        }

    def _plan(self, share: Fields, account: Fields, term: str, change: BillChange) -> str:
        """A share's reminder times, as ms in one text."""
        due = None if change.no_due else change.due_at or views.moment(account.get(f"td:{term}"))
        reminders = change.reminders or views.plan_of(share)
        if due is None:
            return ""
        if reminders is None:
            return _shifted(share, views.moment(account.get(f"td:{share['term']}")), due)
        times = reminder_times(due, reminders, from_ms(now_ms()), zone=self._settings.zone)
        return " ".join(str(to_ms(when)) for when in times)


def _changed(account: Fields, terms: list[str], term: str, change: BillChange) -> dict[str, str]:
    """The record as it will be, as far as ClickPesa is told of it."""
    after = dict(account)
    if term not in terms:
        # The shares go on with the next term.
        after |= {field: term for field in account if field.startswith("sh:")}
        after |= {"T": "\x1f".join([*terms, term]), f"tm:{term}": account[f"tm:{terms[-1]}"]}
    if change.amount is not None:
        after[f"ta:{term}"] = str(to_minor(change.amount, account["cur"]) - views.paid_before(account, term))
    if change.description is not None:
        after[f"tx:{term}"] = change.description
    if change.mode is not None:
        after[f"tm:{term}"] = change.mode
    if change.status == "ACTIVE":
        after.pop("cxl", None)
    return after


def _check(account: Fields, term: str, change: BillChange) -> None:
    """The script decides; this is told before ClickPesa is asked."""
    order, fresh = account["kind"] == "order", f"ta:{term}" not in account
    dead = account["st"] in ("closed", "settled") or (
        account.get("shut") == "1" and change.status == "ACTIVE"
    )
    if order and dead:
        raise Refused(_closed(account))
    if order and fresh:
        raise Refused(Problem(field="term", message="an order number is one bill"))
    if fresh and change.amount is None:
        raise Refused(Problem(field="amount", message="is missing: a next term has its own"))
    before = plain(views.paid_before(account, term), account["cur"])
    if change.amount is not None and change.amount < Decimal(before):
        message = f"is less than the {before} paid under the number before"
        raise Refused(
            Problem(field="amount", message=message, expected=f"the bill's whole amount, {before} or more")
        )


def _closed(account: Fields) -> Problem:
    """Why an order number changes no more, and what to do instead."""
    owed = sum(views.balance(account, term) for term in views.terms_of(account))
    if "nxk" in account and account["st"] == "closed":
        right = (
            "to wait a moment: what is left of its bill is being given a new number, which takes the change"
        )
    elif owed > 0:
        rest = plain(owed, account["cur"])
        right = f"another bill for the {rest} that are left: tuma bill create --kind order --amount {rest}"
    else:
        right = "another bill: nothing is owed for this one"
    state = "settled" if account["st"] == "settled" else "closed"
    return Problem(field="number", message=f"is {state}; an order number takes one payment", expected=right)


def _shifted(share: Fields, before: datetime | None, after: datetime) -> str:
    """The times of a share that was made before plans were kept as such: moved with the due time."""
    if before is None:
        return share.get("plan", "")
    by = to_ms(after) - to_ms(before)
    return " ".join(str(int(at) + by) for at in share.get("plan", "").split())
