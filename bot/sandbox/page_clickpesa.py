"""What the page can ask of ClickPesa's side: pay any number, tell of a payment again, and be the other ClickPesa.

POST /api/pay             {"number", "amount", "wallet"?, "name"?, "phone"?, "lost"?}
`lost`: its webhook never comes. A number that nobody knows and that begins with the
merchant's own is an offline reference.
POST /api/fail            {"number", "reason"?, "wallet"?}
POST /api/deposit         {"amount"}  (to the merchant's own account)
POST /api/payment         {"payment", "status"?, "tell"?}  (a payment moves on; `tell`: its webhook comes again)
POST /api/forge           {"number", "amount"?}  (a payment webhook with a wrong checksum)
POST /api/bills           {"number", "amount", "kind"?, "exact"?}
POST /api/clickpesa       {"per_minute"?, "per_day"?, and any of the shapes in `clickpesa_shapes`}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from bot.sandbox.clickpesa_bills import Payment
from bot.sandbox.clickpesa_shapes import changed
from bot.sandbox.wallet import WALLETS, Payer

if TYPE_CHECKING:
    from bot.sandbox.city import Sandbox

Json = dict[str, Any]


class ClickPesaActions:
    """The actions, by address. What cannot be is a ValueError, LookupError, KeyError or Declined."""

    def __init__(self, city: Sandbox) -> None:
        self._city = city

    def all(self) -> dict[str, Callable[[Json], Awaitable[object]]]:
        """Every action, by its place below /api/."""
        return {
            "pay": self._pay,
            "fail": self._fail,
            "deposit": self._deposit,
            "payment": self._payment,
            "forge": self._forge,
            "bills": self._add_bill,
            "clickpesa": self._be,
        }

    async def _pay(self, asked: Json) -> Json:
        number, amount = str(asked["number"]).strip(), money(asked["amount"])
        wallet, payer = _wallet(asked), _payer(asked)
        namba, known = self._city.clickpesa.account.namba, self._city.clickpesa.bills
        if number.startswith(namba) and number not in known and number not in self._city.world.shared:
            return _told(await self._city.wallet.pay_offline(number, amount, wallet, payer))
        return _told(await self._city.pay(number, amount, wallet, payer, notify=not asked.get("lost")))

    async def _fail(self, asked: Json) -> Json:
        reason = str(asked.get("reason") or "Insufficient balance")
        number = str(asked["number"]).strip()
        return _told(await self._city.wallet.fail(number, reason, _wallet(asked), _payer(asked)))

    async def _deposit(self, asked: Json) -> Json:
        return _told(await self._city.wallet.deposit(money(asked["amount"])))

    async def _payment(self, asked: Json) -> Json:
        payment = self._city.wallet.payment(str(asked["payment"]))
        if asked.get("status") == "SETTLED":
            await self._city.wallet.settle(payment)
        elif asked.get("status"):
            self._city.wallet.restate(payment, str(asked["status"]))
        if asked.get("tell"):
            await self._city.wallet.notify(payment)
        return _told(payment)

    async def _forge(self, asked: Json) -> None:
        amount = None if asked.get("amount") is None else money(asked["amount"])
        reply = await self._city.wallet.forge(str(asked["number"]), amount)
        if reply is not None and reply.ok and self._city.clickpesa.account.checksum_key:
            raise ValueError(f"tuma believed a forged webhook: it answered {reply.status}")

    async def _add_bill(self, asked: Json) -> None:
        amount = None if asked.get("amount") is None else money(asked["amount"])
        kind, exact = str(asked.get("kind") or "order"), bool(asked.get("exact"))
        self._city.bill(str(asked["number"]), amount, kind=kind, exact=exact)

    async def _be(self, asked: Json) -> None:
        api = self._city.clickpesa
        bounds = {name: _bound(asked.pop(name)) for name in ("per_minute", "per_day") if name in asked}
        api.shapes = changed(api.shapes, asked)
        for name, bound in bounds.items():
            setattr(api, name, bound)


def _told(payment: Payment) -> Json:
    return {"payment": payment.id, "status": payment.status, "webhook_status": payment.webhook_status}


def _wallet(asked: Json) -> str:
    wallet = str(asked.get("wallet") or WALLETS[0])
    if wallet not in WALLETS:
        raise ValueError(f"unknown wallet: expected one of {', '.join(WALLETS)}")
    return wallet


def _payer(asked: Json) -> Payer | None:
    """Whoever was named; None: the one who got the bill."""
    name, phone = asked.get("name"), asked.get("phone")
    if not name and not phone:
        return None
    digits = str(phone or Payer().phone).strip().removeprefix("+")
    if not (digits.isdigit() and len(digits) == 12):
        raise ValueError("the payer's phone: expected 12 digits, such as 255712000001")
    return Payer(str(name or Payer().name), digits)


def _bound(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError("a limit: expected a whole number, or null for none")
    return value


def money(value: object) -> Decimal:
    """An amount that somebody typed. Raises ValueError."""
    try:
        return Decimal(str(value).replace(",", ""))
    except InvalidOperation:
        raise ValueError("the amount is not a number") from None
