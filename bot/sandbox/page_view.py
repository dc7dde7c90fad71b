"""What the page shows, as one JSON value: bills and what came after they were paid, people and their screens.

Everything here is read off what arrived at the providers; tuma tells the sandbox nothing. Bounded: the most recent
people and messages only, so that a large run does not drown the page. Times are ms since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from bot.sandbox import reading
from bot.sandbox.clickpesa_bills import Bill, Payment, plain
from bot.sandbox.mail import header
from bot.sandbox.wallet import WALLETS
from bot.sandbox.world import Message, Person

if TYPE_CHECKING:
    from bot.sandbox.city import Sandbox

MAX_PEOPLE, MAX_MESSAGES, MAX_BILLS = 40, 30, 20
_CHANNELS = ("sms", "whatsapp", "telegram", "email")
Json = dict[str, Any]


def view(city: Sandbox, find: str = "") -> Json:
    """The page's state. `find` keeps people whose name, address or control number contains it."""
    people = _chosen(city, find.strip().lower())
    shown = {number for _, numbers in people for number in numbers}
    return {
        "version": city.world.version,
        "now": ms(city.world.clock()),
        "bot": city.accounts.telegram.username,
        "wallets": WALLETS,
        "faults": city.faults.modes(),
        "weather": {"profile": city.faults.profile, "seed": city.faults.seed, "plans": city.faults.plans()},
        "accepted": city.world.counts,
        "total": len(city.world.people),
        "people": [_person(city, person, numbers) for person, numbers in people],
        "loose": [_bill(city, bill) for bill in _loose(city, shown, find)][-MAX_BILLS:],
    }


def ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return int(at.timestamp() * 1000)


# People


def _chosen(city: Sandbox, find: str) -> list[tuple[Person, list[str]]]:
    """Matching people and their control numbers, in the order in which they came; the most recently active of many."""
    people = [each for each in city.world.people if not find or _matches(each, find)]
    if find:
        people = list(dict.fromkeys([*people, *_told_of(city, find)]))
    latest = {each.key for each in nlargest(MAX_PEOPLE, people, key=lambda each: each.active_at)}
    return [(each, _numbers(city, each)) for each in people if each.key in latest]


def _matches(person: Person, find: str) -> bool:
    words = (person.name, person.phone, person.email, str(person.chat))
    return any(find in word.lower() for word in words if word)


def _told_of(city: Sandbox, find: str) -> Iterator[Person]:
    """Whoever got a message about a control number that contains `find`."""
    shared = (each for number, each in city.world.shared.items() if find in number.lower())
    return (
        city.world.owner(message.channel, message.address) for each in shared for message in each.messages
    )


def _threads(city: Sandbox, person: Person) -> dict[str, list[Message]]:
    addresses = {
        "sms": person.phone,
        "whatsapp": person.phone,
        "telegram": person.chat,
        "email": person.email,
    }
    return {
        channel: city.world.thread(channel, str(addresses[channel])) if addresses[channel] else []
        for channel in _CHANNELS
    }


def _numbers(city: Sandbox, person: Person) -> list[str]:
    threads = _threads(city, person).values()
    found = dict.fromkeys(number for thread in threads for each in thread for number in each.numbers)
    return list(found)


def _person(city: Sandbox, person: Person, numbers: list[str]) -> Json:
    threads = _threads(city, person)
    recent = {
        channel: [_message(each) for each in thread[-MAX_MESSAGES:]] for channel, thread in threads.items()
    }
    return {
        "key": person.key,
        "name": person.name,
        "phone": person.phone,
        "email": person.email,
        "chat": person.chat,
        "staff": person.staff,
        "has_whatsapp": person.whatsapp,
        "sms": recent["sms"],
        "whatsapp": recent["whatsapp"],
        "email_messages": recent["email"],
        "telegram": _telegram(city, person, recent["telegram"]),
        "bills": [_bill(city, _known_bill(city, number)) for number in numbers[-MAX_BILLS:]],
        "out": _opt_out(threads),
    }


def _telegram(city: Sandbox, person: Person, messages: list[Json]) -> Json:
    chat = city.telegram.chats.of(person.chat or 0)
    replies = [each["replies"] for each in messages if "replies" in each]
    return {
        "started": chat.started,
        "blocked": chat.blocked,
        "toast": chat.toast,
        "messages": messages,
        "replies": replies[-1] if replies else [],
    }


def _opt_out(threads: dict[str, list[Message]]) -> str | None:
    """The newest opt-out link that the person got."""
    mine = sorted((each for thread in threads.values() for each in thread), key=lambda each: each.at)
    found = [link for each in mine for link in reading.links(each.text) if "/out/" in link]
    return found[-1] if found else None


# Messages


def _message(message: Message) -> Json:
    body: Json = {
        "id": message.id,
        "out": message.outgoing,
        "text": message.text,
        "at": ms(message.at),
        "status": message.status,
        "arrived": message.arrived or not message.outgoing,
        "error": message.error,
    }
    if message.channel == "telegram":
        kept = ("entities", "keyboard", "replies", "edited")
        return body | {name: message.extra[name] for name in kept if name in message.extra}
    return body | _mail(message) if message.channel == "email" else body


def _mail(message: Message) -> Json:
    post = (header(message, "List-Unsubscribe-Post") or "").strip().lower() == "list-unsubscribe=one-click"
    return {
        "from": message.sender,
        "subject": message.extra["subject"],
        "html": bool(message.extra["html"]),
        "unsubscribe": post and unsubscribe_url(message) is not None,
        "attachments": message.extra["attachments"],
    }


def unsubscribe_url(mail: Message) -> str | None:
    """Where the mail's one-click unsubscribe posts to."""
    targets = (header(mail, "List-Unsubscribe") or "").replace(",", " ").split()
    return next((each.strip("<>") for each in targets if each.startswith(("<http://", "<https://"))), None)


# Bills


def _known_bill(city: Sandbox, number: str) -> Bill:
    """The bill on record, or what the customer could make of the message."""
    known = city.clickpesa.bills.get(number)
    return known or Bill(
        number=number, kind="customer", amount=city.world.shared[number].amount, source="read"
    )


def _loose(city: Sandbox, shown: set[str], find: str) -> list[Bill]:
    """Bills that nobody got a message about yet."""
    needle = find.strip().lower()
    bills = city.clickpesa.bills.values()
    return [
        each
        for each in bills
        if each.number not in shown and each.number not in city.world.shared and needle in each.number.lower()
    ]


def _bill(city: Sandbox, bill: Bill) -> Json:
    owed = bill.owed
    return {
        "number": bill.number,
        "kind": None if bill.source == "read" else bill.kind,  # no message tells a customer that
        "source": bill.source,
        "exact": bill.mode == "EXACT",
        "amount": None if bill.amount is None else plain(bill.amount),
        "paid": plain(bill.paid),
        "owed": None if owed is None else plain(owed),
        "active": bill.open,
        "settled": bool(bill.paid) and (not bill.open or (owed is not None and not owed)),
        "payments": [_payment(each) for each in bill.payments],
        "after": _after(city, bill),
    }


def _payment(payment: Payment) -> Json:
    return {
        "id": payment.id,
        "amount": plain(payment.amount),
        "counts": payment.counts,
        "status": payment.status,
        "wallet": payment.wallet,
        "message": payment.message,
        "at": ms(payment.created),
        "webhook_status": payment.webhook_status,
        "webhook_ms": payment.webhook_ms,
    }


def _after(city: Sandbox, bill: Bill) -> Json | None:
    """What came before and after the last payment: receipts, anything more, and when the next reminder was due."""
    paid = [each for each in bill.payments if each.counts]
    shared = city.world.shared.get(bill.number)
    if not paid or shared is None:
        return None
    at = paid[-1].created
    before = [each for each in shared.messages if each.at < at]
    since = [each for each in shared.messages if each.at >= at]
    return {
        "paid_at": ms(at),
        "before": len(before),
        "receipts": [{"channel": each.channel, "ms": ms(each.at) - ms(at)} for each in _first_of_each(since)],
        "more": len(since) - len(_first_of_each(since)),
        "next": _next_due(before, ms(at)),
    }


def _first_of_each(messages: list[Message]) -> list[Message]:
    """The first message on each screen: one receipt per payment and channel."""
    first: dict[tuple[str, str], Message] = {}
    for each in messages:
        first.setdefault((each.channel, each.address), each)
    return list(first.values())


def _next_due(before: list[Message], paid_at: int) -> int | None:
    """When, at the rhythm of the messages so far, the next one would have come after the payment."""
    threads: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for each in before:
        threads[each.channel, each.address].append(ms(each.at))
    due = [times[-1] + (times[-1] - times[-2]) for times in threads.values() if len(times) > 1]
    return min((each for each in due if each > paid_at), default=None)
