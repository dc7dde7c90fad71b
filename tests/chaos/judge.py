"""What must not have happened, and how often it did. The sandbox's records decide; tuma's say what was meant.

`lost`: accepted, and yet unknown; sent, says tuma, but never taken; taken, but unknown to tuma; ended without having
been sent and without being shown to staff; silenced though nobody opted out; still waiting when all was calm.
`twice`: taken more than once without being flagged, or more than twice. `avoidable`: flagged, and the provider had the
first already, although it can be asked and no process was frozen; that it was flagged and the provider had nothing is
what the policy says (sent once more, in case), and counted beside it. `handed_out_late`: handed out after the answer to
the payment's webhook, by tuma's own record, whoever held it. `taken_late`: taken longer after it than a lease, and
nothing explains it; what is explained is counted in `after_lease`: a frozen process held it; it was on its way, which a
request may be for its timeout; the sandbox kept everybody waiting who had come before (see probe.py). `receipts`: one
each payment and channel, on a route `first` one each payment, neither missing nor double; those that no provider is
known to have and that staff are shown are counted by the reason.

`attempts_lost`: a primary that dies takes along what its replica had not received. Accept and settle wait for the
replica, the record of an attempt does not: whoever was handed out a message in the last second before the death, and
sent it, did so unknown to the promoted replica, which hands it out again. A primary that comes back before it is told
that it is none any more does the same, unless its server refuses writes without a replica (`min-replicas-to-write`).
Only what is sent twice so, seen by when the first was taken, is counted here instead of as `twice` or `avoidable`, or
as `lost` if tuma then made it again under another name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from bot.domain.bill import MessageView
from bot.domain.message import Kind, Outcome, State
from bot.sandbox.judge import reference
from bot.sandbox.world import Message
from tests.chaos.evidence import Case, Evidence, asks, takes

_ASKABLE = ("sms", "whatsapp")
_ARRIVED = ("delivered", "read")
# How far behind a replica is at the very most: a run holds every second one for a second before its primary dies.
_BEHIND = timedelta(seconds=1.5)
_BY_AN_ATTEMPT_LOST = ("twice", "avoidable", "lost")
_UNSENT = (Outcome.FAILED, Outcome.EXPIRED)
# Why a message was taken although its lease had ended.
FROZEN = "a frozen process held it"
ON_ITS_WAY = "on its way"
KEPT_WAITING = "in the sandbox's accept queue"


class Offence(msgspec.Struct, frozen=True):
    """One thing that went wrong: which rule, which share, which message (None: the share itself), and how."""

    rule: str
    share: str
    message: str | None
    what: str


class Duplicates(msgspec.Struct, frozen=True):
    """Messages of one channel that were flagged as possible duplicates.

    `had_first`: the provider had taken the one before, so that it is a duplicate indeed, `frozen` of them held by a
    process that was frozen; of the rest it had nothing. `taken_twice`: the provider did take them twice.
    """

    flagged: int = 0
    had_first: int = 0
    frozen: int = 0
    taken_twice: int = 0

    @property
    def had_nothing(self) -> int:
        """Flagged because nobody could be sure, and the provider had not taken the first."""
        return self.flagged - self.had_first


class WithStaff(msgspec.Struct, frozen=True):
    """Receipts that staff are shown for one reason; `taken`: the provider has them all the same."""

    receipts: int
    taken: int


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run. `offences` holds everything that must not have happened."""

    lost: int
    twice: int
    avoidable: int
    attempts_lost: int
    handed_out_late: int
    taken_late: int
    after_lease: dict[str, int]
    adopted_twins: int
    receipts_missing: int
    receipts_double: int
    receipts_with_staff: dict[str, WithStaff]
    duplicates: dict[str, Duplicates]
    messages: int
    taken: int
    outcomes: dict[str, int]
    by_channel: dict[str, int]
    by_kind: dict[str, int]
    held: int
    dead: int
    offences: list[Offence]

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.offences


@dataclass(frozen=True, slots=True)
class Judge:
    """Looks at the evidence of one run.

    `frozen`: messages that a process held when it was frozen. `request`: how long a request may take by channel.
    `held`: whether the sandbox kept those waiting who came by one time until another. `died`: when a primary that has a
    replica was killed, and until when it may have gone on writing.
    """

    evidence: Evidence
    frozen: frozenset[str]
    lease: timedelta
    request: Mapping[str, timedelta]
    held: Callable[[datetime, datetime], bool]
    died: Sequence[tuple[datetime, datetime]] = ()

    def judgement(self) -> Judgement:
        """Everything that can be said."""
        found = list(self._offences())
        lost = self._attempts_lost(found)
        offences = [
            each for each in found if each.message not in lost or each.rule not in _BY_AN_ATTEMPT_LOST
        ]
        rules = Counter(offence.rule for offence in offences)
        views = [view for _, view in self.evidence.messages()]
        receipts = [view for view in views if view.kind is Kind.RECEIPT]
        return Judgement(
            lost=rules["lost"],
            twice=rules["twice"],
            avoidable=rules["avoidable"],
            attempts_lost=len(lost),
            handed_out_late=rules["handed out after payment"],
            taken_late=rules["taken after payment"],
            after_lease=_reasons(why for _, _, why in self._after_lease()),
            adopted_twins=sum(self._twin(view) for view in views),
            receipts_missing=rules["receipt missing"],
            receipts_double=rules["receipt double"],
            receipts_with_staff=self._with_staff(receipts),
            duplicates={channel: self._duplicates(views, channel) for channel in _channels(views)},
            messages=len(views),
            taken=len(self.evidence.by_provider_id),
            outcomes=_counted(str(view.outcome or view.state) for view in views),
            by_channel=_counted(view.channel for view in views),
            by_kind=_counted(str(view.kind) for view in views),
            held=sum(view.state is State.IN_DOUBT for view in views),
            dead=len(self.evidence.dead),
            offences=offences,
        )

    def _offences(self) -> Iterator[Offence]:
        yield from self._lost()
        yield from self._taken_twice()
        yield from self._avoidable()
        yield from self._late()
        for case in self.evidence.cases:
            yield from _receipts(case, self.evidence)

    # Lost

    def _lost(self) -> Iterator[Offence]:
        for case in self.evidence.cases:
            if case.share is None:
                yield Offence("lost", case.customer.share, None, "accepted, and tuma does not know it")
            elif not any(view.kind is Kind.INSTRUCTIONS for view in case.share.messages):
                yield Offence("lost", case.customer.share, None, "accepted, and no instructions were made")
        for case, view in self.evidence.messages():
            if what := self._loss(case, view):
                yield Offence("lost", view.share, view.id, what)
        for stray in self.evidence.taken.strays(view for _, view in self.evidence.messages()):
            what = (
                f"{stray.id} over {stray.channel} to {stray.address} at {stray.at}, and tuma does not know it"
            )
            yield Offence("lost", "", stray.id, f"taken as {what}: {stray.text[:60]!r}")

    def _loss(self, case: Case, view: MessageView) -> str | None:
        found = takes(self.evidence, view)
        if view.outcome is Outcome.SENT and not found and not self._twin(view):
            return "sent, says tuma, but no provider took it"
        if view.outcome is Outcome.SUPPRESSED:
            return f"silenced, though nobody opted out: {view.reason}, {view.error}"
        if view.outcome in _UNSENT and not self._seen_to(case, view):
            return f"{view.outcome} ({view.reason}), and neither staff nor another message know of it"
        if view.state is not State.DONE and view.id not in self.evidence.dead:
            return f"still {view.state} when all was calm"
        return None

    def _twin(self, view: MessageView) -> bool:
        """Whether what tuma found at the provider was sent under the name of an older message with the same text."""
        there = self.evidence.by_provider_id.get(view.provider_id or "")
        return not takes(self.evidence, view) and there is not None and there.channel == view.channel

    def _seen_to(self, case: Case, view: MessageView) -> bool:
        """Whether something came of a message that was not sent: a dead letter, a late word that it arrived after all,
        another message, or a payment.
        """
        arrived = view.delivery in _ARRIVED and bool(takes(self.evidence, view))
        if arrived or view.id in self.evidence.dead or view.replayed_as:
            return True
        later = case.share.messages[case.share.messages.index(view) + 1 :] if case.share else []
        return any(_same_wish(view, other) for other in later) or (asks(view) and bool(case.fence))

    # Twice

    def _taken_twice(self) -> Iterator[Offence]:
        for _, view in self.evidence.messages():
            times = len(takes(self.evidence, view))
            if times > 2 or (times == 2 and not view.possible_duplicate):
                flag = "flagged" if view.possible_duplicate else "not flagged"
                yield Offence("twice", view.share, view.id, f"taken {times} times, {flag}")

    def _avoidable(self) -> Iterator[Offence]:
        for _, view in self.evidence.messages():
            if view.channel not in _ASKABLE or view.id in self.frozen or not view.possible_duplicate:
                continue
            if self._had_first(view):
                what = f"sent again, though {view.channel}'s provider had it and can be asked: {view.error}"
                yield Offence("avoidable", view.share, view.id, what)

    def _duplicates(self, views: Iterable[MessageView], channel: str) -> Duplicates:
        flagged = [view for view in views if view.channel == channel and view.possible_duplicate]
        had = [view for view in flagged if self._had_first(view)]
        return Duplicates(
            len(flagged),
            len(had),
            sum(view.id in self.frozen for view in had),
            sum(len(takes(self.evidence, view)) > 1 for view in flagged),
        )

    def _had_first(self, view: MessageView) -> bool:
        """Whether the provider had taken an attempt before the last one: Twilio was told which, else the time tells."""
        found, last = takes(self.evidence, view), self.evidence.handed_out.get(view.id)
        return len(found) > 1 or any(_before(each, view.attempts, last) for each in found)

    def _attempts_lost(self, offences: Iterable[Offence]) -> set[str | None]:
        """What was sent twice because the record of the first time died with a primary: messages, and provider ids of
        messages that tuma made again under another name.
        """
        doubtful = {offence.message for offence in offences if offence.rule in _BY_AN_ATTEMPT_LOST}
        known = {view.id: view for _, view in self.evidence.messages() if view.id in doubtful}
        lost: set[str | None] = {
            name for name, view in known.items() if self._died(takes(self.evidence, view))
        }
        strays = (self.evidence.by_provider_id.get(offence.message or "") for offence in offences)
        return lost | {stray.id for stray in strays if stray is not None and self._died([stray])}

    def _died(self, found: Sequence[Message]) -> bool:
        first = min(found, key=lambda message: message.at, default=None)
        if first is None:
            return False
        on_its_way = self.lease + self.request[first.channel]
        return any(begin - _BEHIND <= first.at <= end + on_its_way for begin, end in self.died)

    # After payment

    def _late(self) -> Iterator[Offence]:
        for view, fence in self._fenced():
            handed_out = self.evidence.handed_out.get(view.id)
            if handed_out is not None and handed_out > fence:
                what = f"handed out {_seconds(fence, handed_out)} s after the webhook was answered"
                yield Offence("handed out after payment", view.share, view.id, what)
        for view, late_by, why in self._after_lease():
            if why is None:
                what = f"taken {late_by} s after the webhook was answered"
                yield Offence("taken after payment", view.share, view.id, what)

    def _after_lease(self) -> Iterator[tuple[MessageView, str, str | None]]:
        """What asked for money and was taken when its lease had certainly ended, and why that was so if one knows."""
        for view, fence in self._fenced():
            for message in takes(self.evidence, view):
                if message.at > fence + self.lease:
                    yield view, _seconds(fence, message.at), self._reason(view, fence, message)

    def _reason(self, view: MessageView, fence: datetime, message: Message) -> str | None:
        latest = fence + self.lease + self.request[view.channel]
        if view.id in self.frozen:
            return FROZEN
        if message.at <= latest:
            return ON_ITS_WAY
        return KEPT_WAITING if self.held(latest, message.at) else None

    # Receipts

    def _with_staff(self, receipts: Iterable[MessageView]) -> dict[str, WithStaff]:
        shown: defaultdict[str, list[bool]] = defaultdict(list)
        for view in receipts:
            if view.id in self.evidence.dead:
                shown[self.evidence.dead[view.id]].append(bool(takes(self.evidence, view)))
        return {why: WithStaff(len(taken), sum(taken)) for why, taken in sorted(shown.items())}

    def _fenced(self) -> Iterator[tuple[MessageView, datetime]]:
        for case, view in self.evidence.messages():
            # What a closed number still owes may be asked for under a number of its own.
            if case.fence is not None and asks(view) and view.number == case.customer.number:
                yield view, case.fence


def _receipts(case: Case, evidence: Evidence) -> Iterator[Offence]:
    if case.share is None:
        return
    paid, share = len(case.told), case.customer.share
    views = [view for view in case.share.messages if view.kind is Kind.RECEIPT]
    per_channel = Counter(view.channel for view in views)
    wanted = case.customer.channels if case.customer.mode == "all" else ()
    for channel in case.customer.channels:
        if per_channel[channel] > paid:
            what = f"{per_channel[channel]} receipts over {channel} for {paid} payments"
            yield Offence("receipt double", share, None, what)
        elif channel in wanted and per_channel[channel] < paid:
            what = f"{per_channel[channel]} receipts over {channel} for {paid} payments"
            yield Offence("receipt missing", share, None, what)
    if not wanted and sum(_reached(view, evidence) for view in views) < paid:
        yield Offence("receipt missing", share, None, f"fewer receipts than its {paid} payments")
    for view in views if wanted else ():
        if not _reached(view, evidence):
            yield Offence("receipt missing", share, view.id, f"{view.outcome or view.state}: {view.reason}")


def _reached(view: MessageView, evidence: Evidence) -> bool:
    """Whether the provider took a receipt, maybe under another name, or staff know that nobody can tell."""
    found = takes(evidence, view) or evidence.by_provider_id.get(view.provider_id or "")
    return bool(found) or view.id in evidence.dead


def _before(message: Message, attempts: int, last: datetime | None) -> bool:
    _, attempt = reference(message)
    return int(attempt) < attempts if attempt else last is not None and message.at < last


def _reasons(found: Iterable[str | None]) -> dict[str, int]:
    counted = Counter(found)
    return {why: counted[why] for why in (ON_ITS_WAY, FROZEN, KEPT_WAITING)}


def _same_wish(view: MessageView, other: MessageView) -> bool:
    return other.kind is view.kind or (asks(view) and asks(other))


def _channels(views: Iterable[MessageView]) -> list[str]:
    return sorted({view.channel for view in views})


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _seconds(start: datetime, end: datetime) -> str:
    return f"{(end - start).total_seconds():.2f}"
