"""The demo's second chapter: a number that tuma makes, and money that is messy.

Halima's bill has no control number yet, so tuma makes one. She pays a part, which closes the number, and gets another
for the rest. Somebody pays to a number that is nobody's, and staff find whose it is. John's payment brings no webhook,
and ClickPesa's list tells of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from bot.demo import Customer, Stage

_STRAY = "4321000917"
_PART, _REST = 30_000, 50_000


class Chapter(msgspec.Struct, kw_only=True):
    """What the chapter showed, for the JSON line."""

    created: str = ""
    closed: str = ""
    successor: str = ""
    unmatched: str = ""
    matched_to: str = ""
    found_without_webhook: str = ""


async def tell_of_money(stage: Stage, halima: Customer, fatma: Customer, john: Customer) -> Chapter:
    """The chapter, start to end. Raises DemoFailed at the first part that does not come true."""
    chapter = Chapter()
    halima = await _created(stage, chapter, halima)
    await _part_paid(stage, chapter, halima)
    await _stray(stage, chapter, fatma)
    await _lost(stage, chapter, john)
    return chapter


async def _created(stage: Stage, chapter: Chapter, halima: Customer) -> Customer:
    await stage.post(halima)

    async def numbered() -> bool:
        chapter.created = (await stage.share(halima)).number
        return bool(chapter.created)

    await stage.until("Halima's bill had no control number: tuma made one at ClickPesa", numbered)
    named = replace(halima, number=chapter.created)
    await stage.until("Halima has it by SMS", lambda: stage.told(named, "sms"))
    return named


async def _part_paid(stage: Stage, chapter: Chapter, halima: Customer) -> None:
    await stage.city.pay(halima.number, _PART)
    chapter.closed = halima.number

    async def renumbered() -> bool:
        chapter.successor = (await stage.engine.bills.get(halima.number)).next or ""
        return bool(chapter.successor)

    await stage.until("Halima paid a part, which closed her number: the rest has a new one", renumbered)
    new = replace(halima, number=chapter.successor)
    await stage.until("Halima's receipt names it", lambda: _shows(stage, new, f"{_PART:,}", f"{_REST:,}"))


async def _shows(stage: Stage, customer: Customer, *words: str) -> bool:
    """Whether one SMS on the customer's phone has the number and all these words."""
    return any(
        customer.number in m.numbers and all(word in m.text for word in words)
        for m in stage.screens(customer)["sms"]
    )


async def _stray(stage: Stage, chapter: Chapter, fatma: Customer) -> None:
    stage.city.bill(_STRAY, fatma.amount)
    await stage.city.pay(_STRAY, fatma.amount)
    kept = [p for p in await stage.engine.payments.unmatched() if p.number == _STRAY]
    stage.insist(len(kept) == 1, "a payment to nobody's number waits for staff")
    suggested = await stage.engine.suggestions.of(kept[0].id)
    stage.insist(fatma.number in {each.number for each in suggested}, "Fatma's bill is suggested for it")
    await stage.engine.payments.match(kept[0].id, fatma.number, by="demo")
    chapter.unmatched, chapter.matched_to = _STRAY, fatma.number

    async def receipted() -> bool:
        sent = (await stage.share(fatma)).messages
        return any(m.kind == "receipt" and m.outcome == "sent" for m in sent)

    await stage.until(
        "a payment to nobody's number was Fatma's: staff matched it, she has a receipt", receipted
    )


async def _lost(stage: Stage, chapter: Chapter, john: Customer) -> None:
    await stage.city.wallet.pay(john.number, john.amount, notify=False)

    async def settled() -> bool:
        return (await stage.engine.bills.get(john.number)).status == "settled"

    await stage.until("John paid and the webhook was lost: ClickPesa's list told of it", settled)
    chapter.found_without_webhook = john.number


def chapter_json(chapter: Chapter) -> dict[str, Any]:
    """The chapter as JSON says it."""
    found: dict[str, Any] = msgspec.to_builtins(chapter)
    return found
