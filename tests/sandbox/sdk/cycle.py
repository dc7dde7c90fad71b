"""A merchant's program built on the public package `clickpesa-python-sdk`: BillPay's whole cycle against one server.

Runs in an environment of its own (see tests/sandbox/test_sdk.py). Knows nothing of tuma and imports nothing of it. The
package has no setting for the server's address: its client for HTTP is replaced. Prints one JSON object of what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
from clickpesa import AsyncClickPesa, ClickPesa  # type: ignore[import-not-found, unused-ignore]
from clickpesa.exceptions import (  # type: ignore[import-not-found, unused-ignore]
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ValidationError,
)

EXACT = "EXACT"


def client(origin: str, who: dict[str, Any], **changed: str) -> Any:
    """The package's client, pointed at `origin`."""
    account = {**{name: who[name] for name in ("client_id", "api_key", "checksum_key")}, **changed}
    made = ClickPesa(**account, max_retries=1)
    made._http.close()
    made._http = httpx.Client(base_url=origin, timeout=10)
    return made


def refused(call: Callable[[], Any]) -> str:
    """The name and text of the error that a call ends in."""
    try:
        call()
    except (AuthenticationError, ConflictError, ForbiddenError, NotFoundError, ValidationError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def creating(billpay: Any) -> dict[str, Any]:
    """Every kind of create, and what creating again says."""
    bulk = [{"billReference": f"BULK{n}", "billAmount": 1000 + n} for n in range(3)]
    return {
        "order": billpay.create_order_control_number(
            "SOMA0001", 12500, description="Ada", payment_mode=EXACT
        ),
        "anything": billpay.create_order_control_number(),
        "customer": billpay.create_customer_control_number(
            "Neema Kileo",
            phone="255713000002",
            bill_reference="KILEO7",
            amount=60000,
            max_collection_amount=90000,
        ),
        "bulk": billpay.bulk_create_order_numbers([*bulk, bulk[0], {"billReference": "no good"}]),
        "bulk_customers": billpay.bulk_create_customer_numbers(
            [
                {"customerName": "Asha", "customerEmail": "asha@example.test", "billReference": "ASHA1"},
                {"customerName": "Nobody"},
            ]
        ),
        "again": refused(lambda: billpay.create_order_control_number("SOMA0001", 12500)),
        "no_cap": refused(lambda: billpay.create_order_control_number("X1", 10, max_collection_amount=5)),
    }


def paying(sdk: Any, pay: Callable[..., Any]) -> dict[str, Any]:
    """Payments as the package sees them, before and after."""
    seen: dict[str, Any] = {"unpaid": refused(lambda: sdk.payments.get_status("SOMA0001"))}
    seen["too_little"] = pay("SOMA0001", 500)
    seen["exact"] = pay("SOMA0001", 12500, wallet="M-PESA")
    seen["twice"] = pay("SOMA0001", 12500)
    seen["first"], seen["rest"], seen["beyond"] = pay("KILEO7", 60000), pay("KILEO7", 30000), pay("KILEO7", 1)
    seen["status"] = sdk.payments.get_status("SOMA0001")
    seen["two"] = sdk.payments.get_status("KILEO7")
    seen["all"] = sdk.payments.list_all(orderBy="ASC", limit=2)
    seen["some"] = sdk.payments.list_all(orderReference="KILEO7")
    return seen


def changing(billpay: Any) -> dict[str, Any]:
    """Details and updates."""
    seen = {
        "details": billpay.get_details("KILEO7"),
        "missing": refused(lambda: billpay.get_details("NONE")),
        "update": billpay.update_reference("BULK1", amount=2000, description="Mpya", payment_mode=EXACT),
        "inactive": billpay.update_status("BULK2", "INACTIVE"),
        "nothing": refused(lambda: billpay.update_reference("NONE", amount=1)),
    }
    return seen | {"updated": billpay.get_details("BULK1")}


async def asynchronous(origin: str, who: dict[str, Any]) -> dict[str, Any]:
    """The package's other client."""
    sdk = AsyncClickPesa(who["client_id"], who["api_key"], who["checksum_key"], max_retries=1)
    await sdk._http.aclose()
    async with httpx.AsyncClient(base_url=origin, timeout=10) as http:
        sdk._http = http
        made = await sdk.billpay.create_order_control_number("ASYNC1", 700)
        return {"made": made, "details": await sdk.billpay.get_details("ASYNC1")}


def main(origin: str, page: str, who: dict[str, Any]) -> None:
    """The cycle; customers pay through the sandbox's page."""

    def pay(number: str, amount: int, **more: Any) -> str:
        answer = httpx.post(f"{page}/api/pay", json={"number": number, "amount": amount, **more})
        return str(answer.json().get("error", "paid"))

    sdk = client(origin, who)
    seen: dict[str, Any] = {
        "create": creating(sdk.billpay),
        "pay": paying(sdk, pay),
        "change": changing(sdk.billpay),
        "async": asyncio.run(asynchronous(origin, who)),
        "wrong_key": refused(lambda: client(origin, who, api_key="wrong").billpay.get_details("X")),
        "wrong_id": refused(lambda: client(origin, who, client_id="wrong").billpay.get_details("X")),
        "unsigned": refused(
            lambda: client(origin, who, checksum_key="").billpay.create_order_control_number("U1", 1)
        ),
        "wrong_sum": refused(
            lambda: client(origin, who, checksum_key="wrong").billpay.create_order_control_number("U2", 1)
        ),
    }
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
