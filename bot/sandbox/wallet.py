"""The customer who pays: takes money to a control number and lets ClickPesa's webhooks tell of it.

Promises that a payment is on record before its webhook goes out, and that the webhook is tried once: ClickPesa
documents no retries (`Shapes.retry_s` adds some). Faults lose it, double it, delay it, or send a forged one before
it. Source: ClickPesa home/webhooks, BillPay overview (which webhook goes where).
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

from bot.sandbox.clickpesa import ClickPesaApi
from bot.sandbox.clickpesa_bills import Bill, Declined, Payment
from bot.sandbox.clickpesa_checksum import sign
from bot.sandbox.clickpesa_events import event
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
    """Pays, or tries to.

    Webhooks go to the application's `webhook_url` where it has one and the payment is the application's, else to the
    merchant's `merchant_url`, never to both; None: nowhere.
    """

    def __init__(self, api: ClickPesaApi, postman: Postman, errands: Errands) -> None:
        self.api = api
        self.webhook_url: str | None = None
        self.merchant_url: str | None = None
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
        bill.take(payment, paid_order_active=self.api.shapes.paid_order_active)
        self.api.world.changed()
        if notify:
            await self.notify(payment)
        return payment

    async def pay_offline(
        self,
        reference: str,
        amount: Decimal | int | str,
        wallet: str = WALLETS[0],
        payer: Payer | None = None,
    ) -> Payment:
        """Pay to the merchant's own number and some digits. No application knows of it, only the merchant's webhook.

        Raises Declined for a reference that does not begin with the merchant's number.
        """
        if not reference.startswith(self.api.account.namba) or not reference.isdigit():
            raise Declined(f"an offline reference is {self.api.account.namba} and digits")
        bill = Bill(number=reference, kind="offline", amount=Decimal(amount))
        payment = self._payment(bill, Decimal(amount), "SUCCESS", "Payment received", wallet, payer)
        payment.offline = True
        await self.notify(payment)
        return payment

    async def deposit(self, amount: Decimal | int | str) -> Payment:
        """Put money on the merchant's own account at the bank."""
        bill = Bill(number=self.api.account.namba, kind="offline", amount=Decimal(amount))
        payment = self._payment(bill, Decimal(amount), "SUCCESS", "Deposit received", "CRDB COLLECTION", None)
        payment.offline = payment.deposit = True
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
        bill.take(payment, failed_closes=self.api.shapes.failed_closes)
        self.api.world.changed()
        if notify:
            await self.notify(payment)
        return payment

    def restate(self, payment: Payment, status: str) -> None:
        """Move a payment on (SETTLED, REFUNDED, REVERSED, ...); only the query endpoints tell of it."""
        payment.status, payment.updated = status, self.api.world.clock()
        self.api.world.changed()

    async def settle(self, payment: Payment) -> None:
        """Move a payment to the merchant's account; told by a webhook if `Shapes.settled_event` says so."""
        self.restate(payment, "SETTLED")
        if self.api.shapes.settled_event:
            await self.notify(payment)

    def payment(self, payment_id: str) -> Payment:
        """A payment on a control number. Raises LookupError."""
        found = next((each for each in self.api.payments() if each.id == payment_id), None)
        if found is None:
            raise LookupError(f"there is no payment {payment_id}")
        return found

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
        reply = await self._tell_once(payment)
        if reply is not None and not reply.ok and self.api.shapes.retry_s:
            self._errands.begin(self._tell_again(payment))

    async def _tell_again(self, payment: Payment) -> None:
        for wait_s in self.api.shapes.retry_s:
            await asyncio.sleep(wait_s)
            reply = await self._tell_once(payment)
            if reply is None or reply.ok:
                return

    async def _tell_once(self, payment: Payment) -> Reply | None:
        reply = await self._send(event(self.api, payment), payment)
        if reply is not None and payment.webhook_status != 200:
            payment.webhook_status, payment.webhook_ms = reply.status, reply.ms
            payment.told = self.api.world.clock() if reply.status == 200 else None
            self.api.world.changed()
        return reply

    async def _send(self, body: Mapping[str, Any], payment: Payment) -> Reply | None:
        url = self.merchant_url if payment.offline else self.webhook_url or self.merchant_url
        return None if url is None else await self._postman.post(url, msgspec.json.encode(body), _HEADERS)

    async def forge(self, number: str, amount: Decimal | int | str | None = None) -> Reply | None:
        """Somebody without the checksum key claims that `number` was paid. No money moved, nothing is on record.

        Returns what tuma answered: with a key it must be 401.
        """
        bill = self.bill(number)
        claimed = Decimal(amount) if amount is not None else bill.amount or Decimal(1000)
        payment = self._payment(bill, claimed, "SUCCESS", "Payment received", WALLETS[0], None)
        body = event(self.api, payment)
        if "checksum" in body:
            body["checksum"] = sign(body, secrets.token_hex(16))
        return await self._send(body, payment)
