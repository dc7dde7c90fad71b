"""Payments: counted once whoever tells first, given to the oldest unpaid bill, kept for staff when in doubt."""

from __future__ import annotations

import secrets
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bot.domain.bill import PaymentEvent, PaymentView, SettleResult
from bot.domain.calendar import to_ms
from bot.domain.cash import Cash
from bot.domain.contact import mask
from bot.domain.money import plain, to_minor
from bot.engine import keys, views
from bot.engine.offline import renamed
from bot.engine.records import Records
from bot.engine.scripts import now_ms, text
from bot.engine.store import guard
from bot.errors import Conflict, NotFound, Problem, Refused
from bot.settings import Settings

# A payment's status only advances. Source: ClickPesa payment-status page; unknown words rank lowest.
RANK = {
    "PENDING": 1,
    "PROCESSING": 1,
    "ON-HOLD": 1,
    "FAILED": 2,
    "SUCCESS": 3,
    "SETTLED": 4,
    "REFUNDED": 5,
    "REVERSED": 5,
}
_COUNTS = {"SUCCESS", "SETTLED"}
_BACK = {"REFUNDED", "REVERSED"}
HINT_HOLD_MS = 600_000
_CASH = "cash "


class Payments:
    """The payments of all partitions."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._records, self._settings = records, settings
        self._policy = settings.payment_policy()

    async def settle(self, event: PaymentEvent) -> SettleResult:
        """Take one thing said about a payment; when this returns it is on disk and the fence is down.

        Raises StoreUnavailable.
        """
        if prefix := self._settings.clickpesa_offline_prefix:
            named, event = event.number, await renamed(self._records, event, prefix)
            if event.number != named:
                return await self._settle(event, force=False, extra={"named": named})
        return await self._settle(event, force=False)

    async def _settle(
        self, event: PaymentEvent, *, force: bool, extra: dict[str, str] | None = None
    ) -> SettleResult:
        scripts = self._records.scripts
        fields = _fields(event, force=force)
        kept = {"ph": text(event.payer_phone), "nm": text(event.payer_name), **(extra or {})}
        extra = {name: value for name, value in kept.items() if value}
        fields |= {"policy": self._policy, "extra": extra}
        call = scripts.settle(self._records.partition(event.number), now_ms(), fields, event.raw)
        outcome, payment, reason, canceled, receipts, matched = await scripts.run_kept(call)
        if matched and matched != event.number:
            # Staff gave this money to another number; that it went back is news for the bill there.
            there = msgspec.structs.replace(event, number=matched, ids=(payment, *event.ids))
            return await self._settle(there, force=False)
        return SettleResult(
            outcome=outcome,
            payment=payment,
            reason=reason or None,
            canceled=int(canceled),
            receipts=int(receipts),
        )

    async def add(self, number: str, cash: Cash, *, by: str) -> SettleResult:
        """Money that staff took at the counter: it settles like any payment. The same id counts once.

        Raises NotFound; Refused if nothing is owed, or the bill takes only another amount.
        """
        live, account = number, await self._records.account(number)
        while following := account.get("next"):
            live, account = following, await self._records.account(following)
        alias = f"{_CASH}{cash.id}"
        entered = await self._entered(live, account, alias)
        event = PaymentEvent(
            event="received",
            ids=(alias,),
            number=entered or live,
            status="SETTLED",
            amount=cash.amount,
            currency=account["cur"],
            channel="CASH",
            source="staff",
            created_at=views.moment(str(now_ms())),
        )
        if entered is None:
            _check_cash(account, cash)
        extra = {"note": text(cash.note), "by": by}
        result = await self._settle(event, force=False, extra=extra)
        await self._records.audit(by, "cash", f"{cash.amount} for {live}: {cash.note or ''}", now_ms())
        return result

    async def take_back(
        self, payment_id: str, note: str, *, by: str, number: str | None = None
    ) -> SettleResult:
        """An entry of cash was wrong: it counts no more, and whoever has its receipt is told. Twice is as once.

        Raises NotFound (also when it is not of `number`), Refused for money that ClickPesa told of.
        """
        fields = await self.fields(payment_id)
        if number is not None and number not in (fields["num"], fields.get("fw")):
            raise NotFound(f"no payment {payment_id} of {number}")
        if fields["src"] != "staff" or not fields["ref"].startswith(_CASH) or fields.get("of"):
            message = "is no entry of cash; what ClickPesa took, only ClickPesa can return"
            raise Refused(Problem(field="payment", message=message, expected="a payment of the channel CASH"))
        event = _as_event(fields, fields["num"])
        event = msgspec.structs.replace(event, status="REVERSED", ids=(fields["ref"],))
        result = await self._settle(event, force=False, extra={"undone": note})
        if result.outcome != "repeated":
            await self._records.audit(by, "take back", f"{payment_id} of {fields['num']}: {note}", now_ms())
        return result

    async def _entered(self, number: str, account: dict[str, str], alias: str) -> str | None:
        """Under which number of a bill this entry is on record: its own, or one that it had before."""
        while not await self._known(number, alias):
            if (previous := account.get("prev")) is None:
                return None
            number, account = previous, await self._records.account(previous)
        return number

    async def _known(self, number: str, alias: str) -> bool:
        p = self._records.partition(number)
        with guard():
            return bool(await self._records.client.exists(f"{keys.prefix(p)}x:{number}:{alias}"))

    async def hint(self, number: str) -> bool:
        """An unproven webhook named this number: ask ClickPesa soon and hold its reminders. False if not open."""
        scripts = self._records.scripts
        return await scripts.run(
            scripts.hint(self._records.partition(number), now_ms(), number, HINT_HOLD_MS)
        )

    async def hints_due(self, limit: int) -> list[str]:
        """Numbers to ask ClickPesa about, the oldest hint first."""
        found: list[tuple[float, str]] = []
        for p in range(self._records.partitions):
            with guard():
                rows = await self._records.client.zrange(
                    f"{keys.prefix(p)}hints", 0, limit - 1, withscores=True
                )
            found += [(score, number) for number, score in rows]
        return [number for _, number in sorted(found)[:limit]]

    async def hint_done(self, number: str) -> None:
        """ClickPesa has answered about this number."""
        scripts = self._records.scripts
        await scripts.run(scripts.hint_done(self._records.partition(number), number))

    async def unmatched(self, limit: int = 50) -> list[PaymentView]:
        """Payments that wait for staff, the newest first."""
        found: list[tuple[float, int, str]] = []
        for p in range(self._records.partitions):
            with guard():
                rows = await self._records.client.zrevrange(
                    f"{keys.prefix(p)}um", 0, limit - 1, withscores=True
                )
            found += [(score, p, pid) for pid, score in rows]
        names = [f"{keys.prefix(p)}p:{pid}" for _, p, pid in sorted(found, reverse=True)[:limit]]
        return [views.payment(fields) for fields in await self._records.hashes(names) if fields]

    async def match(self, payment_id: str, number: str, *, by: str) -> SettleResult:
        """Staff give a kept payment to a bill, whatever spoke against it.

        Raises NotFound, Conflict (given to another already), Refused (it is no money: failed, pending or returned; or
        none that this bill could count).
        """
        account = await self._records.account(number)
        p, fields = await self._find(payment_id)
        _check_match(fields, account["cur"])
        await self._decide(p, payment_id, number, "reserve")
        of = {} if fields["num"] == number else {"of": payment_id}
        result = await self._settle(_as_event(fields, number), force=True, extra=of)
        if fields["num"] != number:
            await self._decide(p, payment_id, number, "counted")
        await self._records.audit(by, "match", f"{payment_id} to {number}", now_ms())
        return result

    async def dismiss(self, payment_id: str, *, by: str) -> None:
        """Staff decide that a kept payment counts for nothing (returned, not ours); its bill goes on.

        Raises NotFound, Conflict (it counts already).
        """
        p, _ = await self._find(payment_id)
        await self._decide(p, payment_id, "", "dismiss")
        await self._records.audit(by, "dismiss", payment_id, now_ms())

    async def get(self, payment_id: str) -> PaymentView:
        """A payment on record. Raises NotFound."""
        return views.payment(await self.fields(payment_id))

    async def fields(self, payment_id: str) -> dict[str, str]:
        """A payment's record. Raises NotFound."""
        return (await self._find(payment_id))[1]

    async def _find(self, payment_id: str) -> tuple[int, dict[str, str]]:
        names = [f"{keys.prefix(p)}p:{payment_id}" for p in range(self._records.partitions)]
        for p, fields in enumerate(await self._records.hashes(names)):
            if fields:
                return p, fields
        raise NotFound(f"no payment {payment_id}")

    async def _decide(
        self, p: int, payment_id: str, number: str, step: Literal["reserve", "counted", "dismiss"]
    ) -> None:
        scripts = self._records.scripts
        reply = await scripts.run(scripts.match_out(p, payment_id, number, step, self._policy["succ"]))
        if reply[0] == "taken":
            raise Conflict(Problem(field="payment", message=f"this payment counts for {reply[1]} already"))
        if reply[0] == "worthless":
            raise Refused(Problem(field="payment", message=f"no money to give: its status is {reply[1]}"))
        if reply[0] == "unknown":
            raise NotFound(f"no payment {payment_id}")


def _check_match(fields: dict[str, str], currency: str) -> None:
    """What cannot be counted is not reserved for the bill either: it stays where staff see it."""
    if fields["st"] not in _COUNTS:
        return  # the script says that it is no money
    if not int(fields["am"] or 0):
        message = "cannot be counted: ClickPesa named no amount"
        right = "a payment whose amount is known; look at ClickPesa's dashboard, and enter it as cash"
        raise Refused(Problem(field="payment", message=message, expected=right))
    if fields["cur"] != currency:
        message = f"cannot be counted: it is in {fields['cur']}, the bill in {currency}"
        right = "money of the bill's currency; give it back, or enter its worth as cash, and dismiss it"
        raise Refused(Problem(field="payment", message=message, expected=right))


def _check_cash(account: dict[str, str], cash: Cash) -> None:
    currency, terms = account["cur"], views.terms_of(account)
    owed = [views.balance(account, term) for term in terms]
    if account["kind"] == "order" and sum(owed) <= 0:
        raise Refused(Problem(field="number", message="nothing is owed under this order number"))
    first = next((at for at, each in enumerate(owed) if each), None)
    given = to_minor(cash.amount, currency)
    if (
        first is not None
        and account[f"tm:{terms[first]}"] == "exact"
        and given not in (owed[first], sum(owed))
    ):
        right = plain(sum(owed), currency)
        raise Refused(
            Problem(field="amount", message="this bill takes only the exact amount", expected=right)
        )


def _at(when: datetime | None) -> str:
    return str(to_ms(when)) if when else ""


def _payer(event: PaymentEvent) -> str:
    return " ".join(
        part for part in (event.payer_name, mask(event.payer_phone) if event.payer_phone else None) if part
    )


def _fields(event: PaymentEvent, *, force: bool) -> dict[str, Any]:
    currency = event.currency or ("TZS" if event.amount is not None else "")
    return {
        "num": event.number,
        "pid": f"pay_{secrets.token_hex(8)}",
        "ids": list(event.ids),
        "kind": event.event,
        "status": event.status,
        "rank": str(RANK.get(event.status, 0)),
        # A payout carries the same status words; only money that came in counts.
        "counts": "1" if event.status in _COUNTS and event.event in ("received", "deposit") else "0",
        "failed": "1"
        if event.status == "FAILED" or (event.event == "failed" and event.status not in _COUNTS)
        else "0",
        "back": "1" if event.status in _BACK else "0",
        "am": str(to_minor(event.amount, currency)) if event.amount is not None else "",
        "cur": currency,
        "ch": text(event.channel),
        "who": _payer(event),
        "ref": event.ids[-1],
        "msg": text(event.message),
        "paid": _at(event.created_at),
        "src": event.source,
        "force": "1" if force else "0",
    }


def _as_event(fields: dict[str, str], number: str) -> PaymentEvent:
    view = views.payment(fields)
    return PaymentEvent(
        event="received",
        ids=(fields["pid"], fields["ref"]),
        number=number,
        status=view.status,
        amount=Decimal(view.amount) if view.amount else None,
        currency=view.currency,
        channel=view.channel,
        payer_name=view.payer,
        message=view.message,
        created_at=view.paid_at,
        source="staff",
        raw=fields["raw"],
    )
