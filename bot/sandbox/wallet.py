"""The customer who pays: takes money to a control number and lets ClickPesa's webhooks tell of it.

Promises that a payment is on record before its webhook goes out, that the webhook's checksum is canonical, and
that the webhook is tried once: ClickPesa documents no retries. Faults lose it, double it, delay it, or send a forged
one before it. Source: ClickPesa home/webhooks, home/checksum.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from bot.sandbox.clickpesa import ClickPesaApi, stamp
from bot.sandbox.clickpesa_bills import Bill, Declined, Payment, plain
from bot.sandbox.clickpesa_checksum import sign
from bot.sandbox.fault_kinds import How, Point
from bot.sandbox.serving import Errands, Postman, Reply

WALLETS = ("MIXX BY YAS", "M-PESA", "AIRTEL-MONEY", "HALOPESA", "CRDB")
_ALPHABET = string.ascii_uppercase + string.digits
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays. `phone` is 12 digits without plus, as ClickPesa has it."""

    name: str = "Mteja Mwema"
    phone: str = "255712000001"
    email: str | None = None


class Wallet:
    """Pays, or tries to. `webhook_url` is where ClickPesa's webhooks go, None: nowhere."""

    def __init__(self, api: ClickPesaApi, postman: Postman, errands: Errands) -> None:
        self.api = api
        self.webhook_url: str | None = None
        self._postman, self._errands = postman, errands

    def bill(self, number: str) -> Bill:
        """The bill behind `number`; one that was only read in a message is taken as a customer number.

        Raises Declined for a number that nobody has heard of.
        """
        known = self.api.bills.get(number)
        if known is not None:
            return known
        shared = self.api.world.shared.get(number)
        if shared is None:
            raise Declined(f"there is no bill {number}")
        bill = Bill(
            number=number, kind="customer", amount=shared.amount, source="read", created=shared.messages[0].at
        )
        self.api.add(bill)
        return bill

    async def pay(
        self,
        number: str,
        amount: Decimal | int | str,
        wallet: str = WALLETS[0],
        payer: Payer | None = None,
        *,
        notify: bool = True,
    ) -> Payment:
        """Pay `amount` shillings; returns when the webhook was answered. `notify` False: the webhook is lost.

        Raises Declined when the network refuses.
        """
        bill = self.bill(number)
        amount = Decimal(amount)
        bill.verify(amount)
        payment = self._payment(bill, amount, "SUCCESS", "Payment received", wallet, payer)
        bill.take(payment)
        self.api.world.changed()
        if notify:
            await self.notify(payment)
        return payment

    async def fail(
        self,
        number: str,
        reason: str = "Insufficient balance",
        wallet: str = WALLETS[0],
        payer: Payer | None = None,
        *,
        notify: bool = True,
    ) -> Payment:
        """Try to pay, without success. The number stays as it was. Raises Declined when nobody knows it."""
        bill = self.bill(number)
        payment = self._payment(bill, bill.amount or Decimal(0), "FAILED", reason, wallet, payer)
        bill.take(payment)
        self.api.world.changed()
        if notify:
            await self.notify(payment)
        return payment

    def restate(self, payment: Payment, status: str) -> None:
        """Move a payment on (SETTLED, REFUNDED, REVERSED, ...); only the query endpoints tell of it."""
        payment.status, payment.updated = status, self.api.world.clock()
        self.api.world.changed()

    def _payment(
        self, bill: Bill, amount: Decimal, status: str, message: str, wallet: str, payer: Payer | None
    ) -> Payment:
        payer = payer or self._owner(bill)
        at = self.api.world.clock()
        return Payment(
            id=f"{bill.number}LCP{''.join(secrets.choice(_ALPHABET) for _ in range(6))}",
            number=bill.number,
            amount=amount,
            status=status,
            reference=secrets.token_hex(7),
            wallet=wallet,
            payer_name=payer.name,
            payer_phone=payer.phone,
            payer_email=payer.email,
            message=message,
            created=at,
            updated=at,
        )

    def _owner(self, bill: Bill) -> Payer:
        """Whoever got the bill pays it."""
        shared = self.api.world.shared.get(bill.number)
        person, stranger = None, Payer()
        if shared:
            person = self.api.world.owner(shared.messages[0].channel, shared.messages[0].address)
        if person is None or not person.phone:
            return Payer(bill.customer_name or stranger.name, bill.customer_phone or stranger.phone)
        return Payer(person.name or stranger.name, person.phone.removeprefix("+"), person.email)

    # Webhooks

    async def notify(self, payment: Payment) -> None:
        """Send the payment's webhook, once, unless a fault meets it. Calling it again makes a duplicate."""
        fault = self.api.faults.draw("clickpesa", Point.WEBHOOK, payment.number)
        match fault.how if fault else None:
            case How.LOST:
                return
            case How.LATE:
                self._errands.begin(self._tell_late(payment))
                return
            case How.FORGED:
                await self.forge(payment.number, payment.amount)
            case How.DUPLICATED:
                await self._tell(payment)
        await self._tell(payment)

    async def _tell_late(self, payment: Payment) -> None:
        await asyncio.sleep(self.api.faults.late_s)
        await self._tell(payment)

    async def _tell(self, payment: Payment) -> None:
        reply = await self._send(self.event(payment))
        if reply is not None and payment.webhook_status != 200:
            payment.webhook_status, payment.webhook_ms = reply.status, reply.ms
            payment.told = self.api.world.clock() if reply.status == 200 else None
            self.api.world.changed()

    async def _send(self, event: Mapping[str, Any]) -> Reply | None:
        if self.webhook_url is None:
            return None
        return await self._postman.post(self.webhook_url, msgspec.json.encode(event), _HEADERS)

    async def forge(self, number: str, amount: Decimal | int | str | None = None) -> Reply | None:
        """Somebody without the checksum key claims that `number` was paid. No money moved, nothing is on record.

        Returns what tuma answered: with a key it must be 401.
        """
        bill = self.bill(number)
        claimed = Decimal(amount) if amount is not None else bill.amount or Decimal(1000)
        payment = self._payment(bill, claimed, "SUCCESS", "Payment received", WALLETS[0], None)
        event = self.event(payment)
        if "checksum" in event:
            event["checksum"] = sign(event, secrets.token_hex(16))
        return await self._send(event)

    def event(self, payment: Payment) -> dict[str, Any]:
        """The webhook's JSON, signed if the application has a checksum key."""
        failed = payment.status == "FAILED"
        event = {
            "event": "PAYMENT FAILED" if failed else "PAYMENT RECEIVED",
            "data": self._failed(payment) if failed else self._received(payment),
        }
        key = self.api.account.checksum_key
        return event | ({"checksum": sign(event, key), "checksumMethod": "canonical"} if key else {})

    def _received(self, payment: Payment) -> dict[str, Any]:
        customer = {"customerName": payment.payer_name, "customerPhoneNumber": payment.payer_phone}
        if payment.payer_email:
            customer["customerEmail"] = payment.payer_email
        return {
            "id": payment.id,
            "status": payment.status,
            "paymentReference": payment.reference,
            "orderReference": payment.number,
            "collectedAmount": plain(payment.amount),
            "collectedCurrency": "TZS",
            "message": payment.message,
            "channel": payment.wallet,
            "updatedAt": stamp(payment.updated),
            "createdAt": stamp(payment.created),
            "customer": customer,
        }

    def _failed(self, payment: Payment) -> dict[str, Any]:
        return {
            "id": payment.id,
            "status": payment.status,
            "channel": payment.wallet,
            "orderReference": payment.number,
            "message": payment.message,
            "updatedAt": stamp(payment.updated),
            "createdAt": stamp(payment.created),
            "clientId": self.api.account.client_id,
        }
