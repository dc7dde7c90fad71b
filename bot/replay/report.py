"""What became of every bill: tuma's own account beside what the providers took, and whether the two agree.

The providers' record decides how often a message was taken and what it cost; a message that was taken is paid for,
whether it arrived or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bot.domain.bill import MessageView, ShareView, SkippedChannel
from bot.domain.message import Kind, Outcome, State
from bot.engine.scripts import now_ms
from bot.errors import Problem
from bot.replay.matching import TELEGRAM, Matching
from bot.sandbox.world import Message

if TYPE_CHECKING:
    from bot.replay.play import Play

_ASKING = (Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED)
_DAY = timedelta(days=1)


class MessageReport(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `accepted`: how often a provider took it; `cost` of all those times, in the bill's currency.

    `outcome` is tuma's, or the state in which it still waits. `at` is when it was taken first, on the replay's clock.
    """

    id: str
    channel: str
    kind: str
    text: str | None
    subject: str | None
    segments: int | None
    outcome: str
    reason: str | None
    error: str | None
    delivery: str | None
    accepted: int
    possible_duplicate: bool
    cost: str
    at: datetime | None


class RowReport(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the file. `paid` is what its customer paid in the replay, None for nothing."""

    row: int
    ok: bool
    errors: tuple[Problem, ...] = ()
    id: str | None = None
    number: str | None = None
    phone: str | None = None
    channels: list[str] = []
    skipped: list[SkippedChannel] = []
    messages: list[MessageReport] = []
    paid: str | None = None
    cost: str = "0"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole replay. The four counts that must be 0: `lost`, `twice`, `after_payment`, `receipts_wrong`.

    `lost`: sent, says tuma, but no provider took it, or taken and tuma knows nothing of it. `twice`: taken more than
    once without being flagged as a possible duplicate. `after_payment`: asked for money after the webhook of a payment
    in full was answered. `receipts_wrong`: shares whose payment was told to tuma and that got no receipt, or more than
    one on a channel. `unsure`: taken, but tuma cannot know it, and neither says that it was sent nor sends it again.
    """

    summary: Literal[True] = True
    profile: str
    seed: int
    rows: int
    accepted: int
    refused: int
    messages: dict[str, int]
    outcomes: dict[str, int]
    taken: int
    segments: int
    cost: str
    lost: int
    twice: int
    possible_duplicates: int
    unsure: int
    after_payment: int
    payments: int
    payments_untold: int
    receipts_wrong: int
    waiting: int
    pauses: dict[str, int]
    faults: dict[str, dict[str, int]]
    ledger: str
    stuck: str | None
    days: float
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether tuma kept its promises."""
        broken = self.lost + self.twice + self.after_payment + self.receipts_wrong
        return broken == 0 and self.ledger == "ok" and self.stuck is None


class Report(msgspec.Struct, frozen=True):
    """A replay's rows, in the order of the file, and their summary."""

    rows: list[RowReport]
    summary: Summary


async def judge(play: Play) -> Report:
    """Compare what tuma says with what the providers took. Raises StoreUnavailable."""
    shares = {number: await play.engine.shares.get(found.id) for number, found in play.accepted.items()}
    taken = _Taken(play, shares)
    rows = [_row(play, number, job.customer.phone, shares.get(number), taken) for number, job in _jobs(play)]
    ledger = await play.engine.ledger.check()
    told = "ok" if ledger.ok else "; ".join(ledger.differences)
    return Report(rows, _summary(play, rows, list(shares.values()), taken, told))


def _jobs(play: Play) -> Iterator[tuple[int, Any]]:
    return ((row.number, row.job) for row in play.rows)


class _Taken(Matching):
    """What providers took, and what it cost."""

    def __init__(self, play: Play, shares: Mapping[int, ShareView]) -> None:
        chats = {row.number: row.job.customer.telegram for row in play.rows}
        telegram = [
            (str(chats[number]), view)
            for number, share in shares.items()
            for view in share.messages
            if view.channel == TELEGRAM and chats[number]
        ]
        super().__init__(play.stage.city.world.accepted(), telegram)
        self._options, self._twilio = play.options, play.stage.city.twilio

    def segments(self, message: Message) -> int:
        """What one SMS counts for; 0 for anything else."""
        return self._twilio.messages[message.id].segments if message.channel == "sms" else 0

    def cost(self, message: Message) -> Decimal:
        """What one message costs that a provider took."""
        if message.channel == "sms":
            return self.segments(message) * self._options.sms_price
        return self._options.whatsapp_price if message.channel == "whatsapp" else Decimal(0)


def _row(play: Play, number: int, phone: str | None, share: ShareView | None, taken: _Taken) -> RowReport:
    if share is None:
        return RowReport(row=number, ok=False, errors=play.refused[number].problems)
    messages = [_message(view, taken) for view in share.messages]
    paid = sum((p.amount for p in play.payments if p.number == share.number), Decimal(0))
    return RowReport(
        row=number,
        ok=True,
        id=share.id,
        number=share.number,
        phone=phone,
        channels=share.channels,
        skipped=share.skipped,
        messages=messages,
        paid=str(paid) if paid else None,
        cost=_money(sum((Decimal(each.cost) for each in messages), Decimal(0))),
    )


def _message(view: MessageView, taken: _Taken) -> MessageReport:
    found = taken.of(view)
    first = found[0] if found else None
    segments = taken.segments(first) if first else view.segments
    return MessageReport(
        id=view.id,
        channel=view.channel,
        kind=view.kind,
        text=first.text if first else (view.text if view.channel != "email" else None),
        subject=first.extra.get("subject") if first else None,
        segments=segments or None,
        outcome=view.outcome or view.state,
        reason=view.reason,
        error=view.error,
        delivery=view.delivery,
        accepted=len(found),
        possible_duplicate=view.possible_duplicate,
        cost=_money(sum((taken.cost(each) for each in found), Decimal(0))),
        at=first.at if first else None,
    )


def _money(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"


def _summary(
    play: Play, rows: list[RowReport], shares: list[ShareView], taken: _Taken, ledger: str
) -> Summary:
    views = [view for share in shares for view in share.messages]
    found = {view.id: taken.of(view) for view in views}
    every = [message for messages in found.values() for message in messages]
    told = [payment for payment in play.payments if payment.told is not None]
    return Summary(
        profile=play.stage.city.faults.profile,
        seed=play.stage.city.faults.seed,
        rows=len(rows),
        accepted=len(play.accepted),
        refused=len(play.refused),
        messages=dict(Counter(view.channel for view in views)),
        outcomes=dict(Counter(str(view.outcome or view.state) for view in views)),
        taken=len(every),
        segments=sum(map(taken.segments, every)),
        cost=_money(sum(map(taken.cost, every), Decimal(0))),
        lost=sum(view.outcome is Outcome.SENT and not found[view.id] for view in views)
        + len(taken.strays(views)),
        twice=sum(len(found[view.id]) > 1 and not view.possible_duplicate for view in views),
        possible_duplicates=sum(view.possible_duplicate for view in views),
        unsure=sum(view.outcome is not Outcome.SENT and bool(found[view.id]) for view in views),
        after_payment=_after_payment(play, views, found),
        payments=len(play.payments),
        payments_untold=len(play.payments) - len(told),
        receipts_wrong=_receipts_wrong(play, shares),
        waiting=sum(view.state is not State.DONE for view in views),
        pauses=dict(play.pauses),
        faults=play.stage.city.faults.counts(),
        ledger=ledger,
        stuck=play.stuck,
        days=round((now_ms() - play.began) / _DAY.total_seconds() / 1000, 1),
        seconds=round(play.seconds, 1),
    )


def _after_payment(play: Play, views: Iterable[MessageView], found: Mapping[str, list[Message]]) -> int:
    """How often money was asked for after the webhook was answered, beyond the lease of what was already on its way."""
    lease = timedelta(milliseconds=play.stage.settings.lease_ms)
    fences = {payment.number: payment.told + lease for payment in play.payments if payment.told}
    asking = (view for view in views if view.kind in _ASKING and view.number in fences)
    return sum(message.at > fences[view.number] for view in asking for message in found[view.id])


def _receipts_wrong(play: Play, shares: Iterable[ShareView]) -> int:
    """Payments that tuma was told of and that were not answered by one receipt on a channel of their share.

    A receipt counts that was sent, or that a provider refused for good; on a first route one channel is enough.
    """
    told = Counter(payment.number for payment in play.payments if payment.told is not None)
    wrong = 0
    for share in shares:
        per_channel = Counter(view.channel for view in share.messages if view.kind is Kind.RECEIPT)
        if told[share.number] and (not per_channel or max(per_channel.values()) > told[share.number]):
            wrong += 1
    return wrong
