"""Records as others see them: field maps from Redis in, the values of bot.domain.bill out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

import msgspec

from bot.domain import dead
from bot.domain.bill import (
    Asking,
    BillKind,
    BillMode,
    BillStatus,
    BillView,
    MessageView,
    PaymentView,
    ShareContact,
    ShareState,
    ShareView,
    SkippedChannel,
    TermView,
)
from bot.domain.contact import mask
from bot.domain.dead import DeadLetter
from bot.domain.message import Kind, Lane, Outcome, State
from bot.domain.money import plain
from bot.domain.share import Reminders, ShareJob
from bot.engine import keys
from bot.engine.doubt import ASKED, TIMES

Fields = Mapping[str, str]
# Which kind of address a channel uses.
KIND = {"sms": "phone", "whatsapp": "phone", "email": "email", "telegram": "telegram"}

# Costs are kept in ten-thousandths, so that a price of 0.0075 is exact.
COST_UNIT = 10_000
# The contact that a number was first shared with, see lua/_lib.lua.
FIRST_CONTACT = "1"


class Blob(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What only rendering reads of a share, but for the name: one JSON text in its record, if it is not usual."""

    template: str = "default"
    data: dict[str, str | int | float | bool | None] = {}


_BLOB = msgspec.json.Decoder(Blob)


class BillHit(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a search."""

    number: str
    name: str | None
    status: BillStatus
    balance: str
    currency: str


def moment(ms: str | None) -> datetime | None:
    """Milliseconds as text, or nothing, as an aware UTC time."""
    return datetime.fromtimestamp(int(float(ms)) / 1000, UTC) if ms else None


def instant(ms: str) -> datetime:
    """Milliseconds as text as an aware UTC time."""
    return datetime.fromtimestamp(int(float(ms)) / 1000, UTC)


def minor(fields: Fields, name: str) -> int:
    """A money field in minor units; 0 when absent."""
    return int(fields.get(name) or 0)


def terms_of(account: Fields) -> list[str]:
    """The terms of a number, oldest first."""
    return [term for term in account.get("T", "").split("\x1f") if term]


def balance(account: Fields, term: str) -> int:
    """What is owed for one term, in minor units; never below 0."""
    moved = minor(account, f"mv:{term}")  # to the number that came after this one
    return max(minor(account, f"ta:{term}") - minor(account, f"tp:{term}") - moved, 0)


def total(account: Fields, term: str) -> int:
    """The amount of one term with what was paid for it under numbers before this one, in minor units."""
    return minor(account, f"ta:{term}") + paid_before(account, term)


def paid(account: Fields, term: str) -> int:
    """What was paid for one term under this number and those before it, in minor units."""
    return minor(account, f"tp:{term}") + paid_before(account, term)


def paid_before(account: Fields, term: str) -> int:
    """What was paid for one term under the numbers before this one, in minor units."""
    return max(minor(account, f"tb:{term}"), 0)


def term_of(account: Fields, term: str) -> str:
    """The term of a share as this number has it: a share may have gone on to another number or term since."""
    return term if f"ta:{term}" in account else terms_of(account)[-1]


def carried(account: Fields, term: str) -> int:
    """What is left of earlier bills that no share speaks for any more, so that the one of `term` does; minor units."""
    others = [each for each in terms_of(account) if each != term]
    if not others:
        return 0
    spoken = {value for field, value in account.items() if field.startswith("sh:")}
    return sum(balance(account, each) for each in others if each not in spoken)


def shares_of(account: Fields) -> list[str]:
    """Inner names of an account's shares."""
    return sorted(field[3:] for field in account if field.startswith("sh:"))


def contacts_of(account: Fields) -> list[tuple[str, str]]:
    """(kind, address) of everybody put on this number."""
    return sorted(
        (kind, address)
        for kind, _, address in (field[2:].partition(":") for field in account if field.startswith("k:"))
    )


def status(account: Fields) -> BillStatus:
    """Where a number stands; held means staff must decide before reminders go on."""
    state = BillStatus(account["st"])
    return BillStatus.HELD if state is BillStatus.OPEN and minor(account, "kept") > 0 else state


def cost(shares: Sequence[Fields], name: str) -> str | None:
    """What the messages of one bill have cost, in the currency of TUMA_PRICES; None where no cost cap was set."""
    spent = [int(s["sp"]) for s in shares if s["term"] == name and s.get("sp")]
    return f"{(Decimal(sum(spent)) / COST_UNIT).normalize():f}" if spent else None


def term(account: Fields, name: str, shares: Sequence[Fields] = ()) -> TermView:
    """One bill of a number."""
    currency = account["cur"]
    return TermView(
        term=name,
        amount=plain(total(account, name), currency),
        paid=plain(paid(account, name), currency),
        balance=plain(balance(account, name), currency),
        due_at=moment(account.get(f"td:{name}")),
        description=account.get(f"tx:{name}"),
        mode=BillMode(account[f"tm:{name}"]),
        cost=cost(shares, name),
        cost_cap_reached_at=moment(account.get(f"cap:{name}")),
        from_credit=plain(minor(account, f"cu:{name}"), currency),
    )


def payment(fields: Fields) -> PaymentView:
    """A payment on record."""
    currency = fields.get("cur") or None
    known = fields.get("am")
    return PaymentView(
        id=fields["pid"],
        number=fields["num"],
        amount=plain(int(known), currency) if known and currency else None,
        currency=currency,
        status=fields["st"],
        matched=fields.get("m") == "1",
        reason=fields.get("why") or None,
        channel=fields.get("ch") or None,
        payer=fields.get("who") or None,
        message=fields.get("msg") or None,
        received_at=instant(fields["at"]),
        paid_at=moment(fields.get("paid")),
        receipt=fields.get("rn"),
        reference=fields.get("ref") or None,
        note=_note(fields),
        counts_for=fields.get("fw") or fields.get("mt"),
    )


def _note(fields: Fields) -> str | None:
    undone = f"taken back: {fields['undone']}" if "undone" in fields else ""
    return "; ".join(part for part in (fields.get("note"), undone) if part) or None


def message(p: int, local: str, fields: Fields, share_id: str) -> MessageView:
    """A message on record."""
    return MessageView(
        id=keys.message_id(p, local),
        share=share_id,
        number=fields["num"],
        channel=fields["ch"],
        kind=Kind(fields["k"]),
        lane=Lane.URGENT if fields["ln"] == "u" else Lane.BULK,
        state=State(fields["st"]),
        outcome=Outcome(fields["o"]) if fields.get("o") else None,
        reason=fields.get("why") or None,
        error=fields.get("err") or None,
        delivery=fields.get("dl") or None,
        provider_id=fields.get("pid") or None,
        attempts=int(fields.get("a", "0")),
        possible_duplicate=fields.get("dup") == "1",
        segments=int(fields["seg"]) if fields.get("seg") else None,
        to=mask(fields["to"]) if fields.get("to") else None,
        text=fields.get("txt") or None,
        created_at=instant(fields["at"]),
        due_at=moment(fields.get("due")),
        sent_at=moment(fields.get("sat")),
        replayed_as=keys.message_id(p, fields["re"]) if fields.get("re") else None,
        asking=_asking(fields),
    )


def _asking(fields: Fields) -> Asking | None:
    answered = fields.get("aw") in ("absent", "unaskable")
    if fields["st"] != State.IN_DOUBT or fields["ch"] not in ASKED or answered:
        return None
    return Asking(answers=int(fields.get("aq") or 0), of=TIMES, obstacle=fields.get("ae") or None)


def dead_letter(p: int, local: str, fields: Fields, share: Fields, died_ms: int) -> DeadLetter:
    """A dead letter on record, with what would mend it as things stand now."""
    view = message(p, local, fields, share["id"])
    reason, held = fields.get("dw") or fields.get("why") or "", view.state is State.IN_DOUBT
    to = share.get(f"a:{KIND[view.channel]}")
    edited = bool(to) and to != fields.get("to")
    open_again = bool(to) and f"x:{view.channel}" not in share
    cause = dead.cause(reason, held=held, mended=open_again and (edited or reason != "undelivered"))
    # `died_at` is not `created_at`: staff sort by when it went wrong.
    return DeadLetter(
        **{**msgspec.structs.asdict(view), "reason": reason or None},
        cause=cause,
        hint=dead.HINTS[cause],
        held=held,
        died_at=instant(str(died_ms)),
    )


def share_contact(p: int, fields: Fields) -> ShareContact:
    """How a share's contact can be reached."""
    silent = sorted((name[2:], why) for name, why in fields.items() if name.startswith("x:"))
    dead_numbers = sorted(int(name[2:]) for name in fields if name.startswith("d:"))
    return ShareContact(
        share=fields["id"],
        number=fields["num"],
        phone=_masked(fields, "a:phone"),
        email=_masked(fields, "a:email"),
        telegram=_masked(fields, "a:telegram"),
        channels=fields["ch"].split(),
        suppressed=[SkippedChannel(channel, why) for channel, why in silent],
        dead=[keys.message_id(p, f"{fields['sid']}.{n}") for n in dead_numbers],
    )


def _masked(fields: Fields, name: str) -> str | None:
    return mask(fields[name]) if fields.get(name) else None


def skipped(fields: Fields) -> list[SkippedChannel]:
    """The channels a share could not use from the start, and cannot use now."""
    found = msgspec.json.decode(fields["skip"], type=list[SkippedChannel]) if fields.get("skip") else []
    return [one for one in found if one.channel not in fields["ch"].split()]


def next_reminder(fields: Fields) -> datetime | None:
    """When a share reminds next, if it still does."""
    plan = fields.get("plan", "").split()
    at = int(fields.get("ri") or 0)
    return moment(plan[at]) if fields["st"] == "active" and at < len(plan) else None


def share(p: int, fields: Fields, messages: list[MessageView]) -> ShareView:
    """A share on record."""
    return ShareView(
        id=fields["id"],
        number=fields["num"],
        term=fields["term"],
        state=cast(ShareState, fields["st"]),
        channels=fields["ch"].split(),
        skipped=skipped(fields),
        messages=messages,
        next_reminder_at=next_reminder(fields),
        created_at=instant(fields["at"]),
        token=keys.token(p, fields["sid"]),
    )


def unmade_share(p: int, share_id: str, claim: Fields) -> ShareView:
    """A share whose number is being made, or was refused."""
    job = msgspec.json.decode(claim["job"], type=ShareJob) if claim.get("job") else None
    return ShareView(
        id=share_id,
        number="",
        term=job.bill.term if job else "1",
        state="refused" if claim["st"] == "refused" else "creating",
        reason=claim.get("why"),
        channels=[str(channel) for channel in job.route.channels] if job else [],
        skipped=[],
        messages=[],
        next_reminder_at=None,
        created_at=instant(claim["at"]),
        token=keys.token(p, claim["sid"]),
    )


def blob(fields: Fields) -> Blob:
    """What rendering reads of a share."""
    return _BLOB.decode(fields.get("b", "{}"))


def plan_text(reminders: Reminders) -> str:
    """When a share reminds, as kept in its record: `P3D P1D/P1D/5`, before and after the due time, and how often."""
    before, after = msgspec.to_builtins((reminders.before_due, reminders.after_due))
    return f"{' '.join(before)}/{' '.join(after)}/{reminders.max}"


def plan_of(share: Fields) -> Reminders | None:
    """The same read back; None of a share that does not say."""
    if not share.get("rem"):
        return None
    before, after, most = share["rem"].split("/")
    plan = {"before_due": before.split(), "after_due": after.split(), "max": int(most)}
    return msgspec.convert(plan, Reminders)


def name_of(share: Fields, account: Fields) -> str | None:
    """What a share's contact is called: as it says, else as the number was made for, if that is the same person."""
    if name := share.get("nm"):
        return name
    mine = {account.get(f"k:{kind}:{share.get(f'a:{kind}')}") for kind in ("phone", "email", "telegram")}
    return account.get("nm") if FIRST_CONTACT in mine else None


def customer(account: Fields, shares: Sequence[Fields]) -> str | None:
    """The name that a bill is found by."""
    return next((name for s in shares if (name := s.get("nm"))), account.get("nm"))


def bill(number: str, account: Fields, shares: Sequence[Fields], payments: list[PaymentView]) -> BillView:
    """All that is known of one control number."""
    currency, names = account["cur"], terms_of(account)
    # A share that went on to the number after this one reminds of that one.
    upcoming = [at for s in shares if s["num"] == number and (at := next_reminder(s)) is not None]
    return BillView(
        number=number,
        kind=BillKind(account["kind"]),
        currency=currency,
        status=status(account),
        balance=plain(sum(balance(account, name) for name in names), currency),
        paid=plain(minor(account, "paid") + sum(paid_before(account, name) for name in names), currency),
        credit=plain(minor(account, "credit"), currency),
        terms=[term(account, name, shares) for name in names],
        payments=payments,
        shares=[s["id"] for s in shares],
        contacts=[mask(address) for _, address in contacts_of(account)],
        customer=customer(account, shares),
        next_reminder_at=min(upcoming, default=None),
        previous=account.get("prev"),
        next=account.get("next"),
    )
