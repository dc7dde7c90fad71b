"""What is known of messages that broke a promise: their lives, the payments, the strikes, the log lines about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from bot.domain.bill import MessageView
from tests.chaos.evidence import Case, takes
from tests.chaos.run import Outcome

_LIVES, _LOG_LINES = 5, 12
_NEAR_S = 12.0


def lives(outcome: Outcome, logs: Path) -> Iterator[str]:
    """Everything that is known of the first offences."""
    found = {view.id: (case, view) for case, view in outcome.evidence.messages()}
    for offence in islice(outcome.judgement.offences, _LIVES):
        yield f"\n{offence.rule}: share {offence.share}, message {offence.message}: {offence.what}"
        if offence.message in found:
            yield from _life(outcome, *found[offence.message], logs)
        else:
            cases = (case for case in outcome.evidence.cases if case.customer.share == offence.share)
            for case in cases:
                yield from _share(outcome, case)


def _share(outcome: Outcome, case: Case) -> Iterator[str]:
    yield f"  {case.customer}"
    for view in case.share.messages if case.share else ():
        yield f"  {_line(outcome, view)}"
    yield from _paid(outcome, case)


def _life(outcome: Outcome, case: Case, view: MessageView, logs: Path) -> Iterator[str]:
    yield f"  {_line(outcome, view)}"
    for message in takes(outcome.evidence, view):
        yield f"  {_at(outcome, message.at)} taken by {message.provider} as {message.id} ({message.reference})"
    yield from _paid(outcome, case)
    ends = [view.created_at, *(message.at for message in takes(outcome.evidence, view)), view.sent_at]
    times = [each.timestamp() for each in ends if each]
    for strike in outcome.struck:
        if min(times) - _NEAR_S <= strike.at.timestamp() <= max(times) + _NEAR_S:
            held = ", held it" if view.id in strike.held else ""
            yield f"  {_at(outcome, strike.at)} {strike.what} {strike.whom} {strike.lasted_s:.1f} s{held}"
    yield from islice(_logged(logs, view.id), _LOG_LINES)


def _logged(logs: Path, message_id: str) -> Iterator[str]:
    _, _, local = message_id.partition("-")
    for file in sorted(logs.glob("*.log")):
        for line in file.read_text(errors="replace").splitlines():
            if local in line:
                yield f"  {file.name}: {line}"


def _line(outcome: Outcome, view: MessageView) -> str:
    flag = ", flagged" if view.possible_duplicate else ""
    sent = f", sent {_at(outcome, view.sent_at)}" if view.sent_at else ""
    return (
        f"{_at(outcome, view.created_at)} {view.id} {view.kind} {view.channel}: {view.outcome or view.state}"
        f" ({view.reason}; {view.error}), attempts {view.attempts}{flag}{sent}, delivery {view.delivery}"
    )


def _paid(outcome: Outcome, case: Case) -> Iterator[str]:
    for payment in case.payments:
        told = _at(outcome, payment.told) if payment.told else "never"
        yield f"  {_at(outcome, payment.created)} payment {payment.status} {payment.amount}, webhook answered {told}"


def _at(outcome: Outcome, at: datetime) -> str:
    return f"{(at - outcome.began).total_seconds():8.3f} s"
