"""The judge of a chaos run sees what must not happen: each promise is broken here once, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from bot.domain.bill import MessageView, ShareView
from bot.domain.message import Kind, Lane, Outcome, State
from bot.replay.matching import Matching
from bot.sandbox.clickpesa_bills import Payment
from bot.sandbox.world import Message
from tests.chaos.evidence import Case, Evidence
from tests.chaos.judge import FROZEN, KEPT_WAITING, ON_ITS_WAY, Judge, Judgement, WithStaff
from tests.chaos.plan import CHANNELS, QUICK, Customer, plan
from tests.chaos.probe import Probe

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
LEASE = timedelta(seconds=2)
REQUEST = {channel: timedelta(seconds=1) for channel in CHANNELS}
ID = "3-abcdefghijklmnop."


def customer(**more: Any) -> Customer:
    known = plan(7, QUICK).customers[0]
    return replace(known, kind="order", mode="all", channels=("sms",), amount=1000, **more)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def view(n: int = 1, **more: Any) -> MessageView:
    known: dict[str, Any] = {
        "share": customer().share, "number": customer().number, "channel": "sms", "kind": Kind.INSTRUCTIONS,
        "lane": Lane.BULK, "state": State.DONE, "outcome": Outcome.SENT, "reason": None, "error": None,
        "delivery": "sent", "provider_id": f"SM{n}", "attempts": 1, "possible_duplicate": False, "segments": 1,
        "to": None, "text": "Lipa", "due_at": None, "sent_at": at(1), "created_at": START,
    }  # fmt: skip
    return MessageView(id=f"{ID}{n}", **known | more)


def taken(n: int = 1, seconds: float = 1, **more: Any) -> Message:
    known: dict[str, Any] = {
        "provider": "twilio",
        "channel": "sms",
        "address": "+255754000000",
        "sender": "S",
    }
    reference = f"m={ID}{n}&a=1"
    return Message(
        **known | {"id": f"SM{n}", "text": "Lipa", "at": at(seconds), "reference": reference} | more
    )


def payment(told: float | None = 10, amount: int = 1000) -> Payment:
    return Payment(
        id="P1", number=customer().number, amount=Decimal(amount), status="SUCCESS", reference="R1", wallet="M-PESA",
        payer_name="A", payer_phone="255754000000", payer_email=None, message="", created=at(9), updated=at(9),
        told=None if told is None else at(told),
    )  # fmt: skip


def receipt(n: int = 2, **more: Any) -> MessageView:
    return view(n, **{"kind": Kind.RECEIPT, "created_at": at(10), **more})


def judged(
    views: Sequence[MessageView],
    messages: Sequence[Message],
    payments: Sequence[Payment] = (),
    *,
    who: Customer | None = None,
    dead: Sequence[str] = (),
    frozen: Sequence[str] = (),
    handed_out: float = 1,
    held: bool = False,
    died: Sequence[float] = (),
) -> Judgement:
    share = ShareView(
        id=customer().share, number=customer().number, term="1", state="active", channels=["sms"], skipped=[],
        messages=list(views), next_reminder_at=None, created_at=START, token="3-t",
    )  # fmt: skip
    case = Case(who or customer(), share, payments)
    ids, times = {each.id: each for each in messages}, {each.id: at(handed_out) for each in views}
    evidence = Evidence(
        [case], dict.fromkeys(dead, "sms: in doubt twice"), Matching(messages, []), ids, times
    )
    times_of_death = [(at(each), at(each)) for each in died]
    return Judge(
        evidence, frozenset(frozen), LEASE, REQUEST, lambda since, until: held, times_of_death
    ).judgement()


def test_a_run_in_which_all_went_well_is_clean() -> None:
    found = judged([view(), receipt()], [taken(), taken(2, 11)], [payment()])
    assert found.clean
    assert (found.messages, found.taken, found.outcomes) == (2, 2, {"sent": 2})


def test_a_share_that_nobody_knows_is_lost() -> None:
    evidence = Evidence([Case(customer(), None, [])], {}, Matching([], []), {}, {})
    assert Judge(evidence, frozenset(), LEASE, REQUEST, lambda since, until: False).judgement().lost == 1


@pytest.mark.parametrize(
    "lost",
    [
        view(),
        view(outcome=Outcome.FAILED, reason="in doubt twice"),
        view(outcome=Outcome.EXPIRED),
        view(outcome=Outcome.SUPPRESSED, reason="invalid address"),
        view(outcome=None, state=State.QUEUED),
        view(outcome=None, state=State.IN_DOUBT),
    ],
)
def test_a_message_that_nobody_got_and_nobody_sees_is_lost(lost: MessageView) -> None:
    assert judged([lost], []).lost == 1


def test_what_staff_or_a_later_message_or_a_payment_see_to_is_not_lost() -> None:
    failed = view(outcome=Outcome.FAILED, reason="in doubt twice")
    assert judged([failed], [], dead=[failed.id]).clean
    assert judged([failed, view(2)], [taken(2)]).clean
    assert judged([failed, receipt()], [taken(2)], [payment()]).clean


def test_in_doubt_twice_is_no_loss_once_the_provider_says_that_it_arrived() -> None:
    doubted = view(outcome=Outcome.FAILED, reason="in doubt twice", delivery="delivered")
    assert judged([doubted], [taken()]).clean
    assert judged([doubted], []).lost == 1


def test_what_a_provider_took_and_tuma_does_not_know_is_lost() -> None:
    assert judged([view()], [taken(), taken(9)]).lost == 1


def test_taken_twice_without_a_flag_or_three_times_with_one_is_twice() -> None:
    assert judged([view()], [taken(), taken()]).twice == 1
    flagged = view(possible_duplicate=True)
    assert judged([flagged], [taken(), taken(), taken()]).twice == 1
    assert judged([flagged], [taken(), taken()]).twice == 0


def test_a_duplicate_where_the_provider_can_be_asked_is_allowed_to_the_frozen_alone() -> None:
    flagged = view(possible_duplicate=True)
    assert judged([flagged], [taken(), taken()]).avoidable == 1
    assert judged([flagged], [taken(), taken()], frozen=[flagged.id]).clean
    assert judged([flagged], [taken()]).clean


def test_a_flag_is_right_only_where_the_provider_had_the_first() -> None:
    flagged = view(possible_duplicate=True, attempts=2)
    had, had_not = [taken(reference=f"m={ID}1&a={attempt}") for attempt in (1, 2)]
    first = judged([flagged], [had])
    assert (first.avoidable, first.duplicates["sms"].had_first) == (1, 1)
    found = judged([flagged], [had], frozen=[flagged.id])
    assert (found.clean, found.duplicates["sms"].frozen) == (True, 1)
    found = judged([flagged], [had_not])
    assert (found.clean, found.duplicates["sms"].had_nothing) == (True, 1)


def test_of_mail_the_time_tells_whether_the_first_was_taken() -> None:
    flagged = view(possible_duplicate=True, channel="email", attempts=2)
    early, late = [taken(1, s, provider="smtp", channel="email", reference=f"<{ID}1@x>") for s in (1, 9)]
    for mail, had_first in ((early, 1), (late, 0)):
        found = judged([flagged], [mail], handed_out=5)
        assert (found.clean, found.duplicates["email"].had_first) == (True, had_first)


def test_mail_cannot_be_asked_so_its_duplicates_are_counted_and_allowed() -> None:
    flagged = view(possible_duplicate=True, channel="email")
    mails = [taken(provider="smtp", channel="email", reference=f"<{ID}1@x>") for _ in range(2)]
    found = judged([flagged], mails, who=customer(email="a@b.c"))
    assert (found.avoidable, found.twice, found.duplicates["email"].taken_twice) == (0, 0, 1)


@pytest.mark.parametrize(("seconds", "on_its_way", "broken"), [(11.9, 0, 0), (12.1, 1, 0), (13.1, 0, 1)])
def test_asking_for_money_later_than_a_lease_and_a_request_is_seen(
    seconds: float, on_its_way: int, broken: int
) -> None:
    late = judged([view(), receipt()], [taken(1, seconds), taken(2, 11)], [payment()])
    assert (late.after_lease[ON_ITS_WAY], late.taken_late) == (on_its_way, broken)
    assert late.clean == (not broken)


def test_what_stood_in_the_sandboxs_own_queue_is_counted_apart() -> None:
    late = judged([view(), receipt()], [taken(1, 30), taken(2, 11)], [payment()], held=True)
    assert (late.clean, late.after_lease[KEPT_WAITING]) == (True, 1)


def test_the_sandbox_keeps_waiting_only_whom_a_knock_shows_to_have_waited() -> None:
    probe = Probe("http://127.0.0.1:9", [(at(0), at(0.1)), (at(10), at(40))])
    assert probe.held(at(12), at(41))
    assert not probe.held(at(9), at(41))
    assert not probe.held(at(12), at(43))
    assert probe.longest_s == 30


def test_a_number_that_took_over_what_is_left_is_not_fenced() -> None:
    renumbered = view(3, number="55000000000099", kind=Kind.INSTRUCTIONS)
    assert judged([view(), receipt(), renumbered], [taken(), taken(2, 11), taken(3, 60)], [payment()]).clean


def test_handing_out_after_the_fence_is_seen_whenever_it_was_taken() -> None:
    for frozen in ([], [f"{ID}1"]):
        late = judged(
            [view(), receipt()], [taken(), taken(2, 11)], [payment()], handed_out=10.1, frozen=frozen
        )
        assert (late.handed_out_late, late.clean) == (1, False)


def test_what_was_found_at_the_provider_under_an_older_name_is_no_loss() -> None:
    twin = view(2, reason="found at the provider", provider_id="SM1")
    older = view(1, outcome=Outcome.SUPERSEDED, reason="in doubt, and a newer message")
    found = judged([older, twin], [taken(1)])
    assert (found.clean, found.adopted_twins) == (True, 1)


def test_what_a_frozen_process_held_is_counted_apart() -> None:
    found = judged([view(), receipt()], [taken(1, 13.5), taken(2, 11)], [payment()], frozen=[f"{ID}1"])
    assert (found.clean, found.after_lease) == (True, {ON_ITS_WAY: 0, FROZEN: 1, KEPT_WAITING: 0})


def test_a_receipt_may_come_as_late_as_it_likes() -> None:
    assert judged([view(), receipt()], [taken(), taken(2, 99)], [payment()]).clean


def test_an_order_number_is_fenced_by_its_first_payment_and_a_customer_number_by_the_last() -> None:
    half = payment(amount=500)
    order, open_number = customer(), replace(customer(), kind="customer")
    assert Case(order, None, [half]).fence == half.told
    assert Case(open_number, None, [half]).fence is None
    assert Case(open_number, None, [half, payment(told=20, amount=500)]).fence == at(20)


def test_a_payment_that_tuma_was_never_told_of_fences_nothing() -> None:
    assert Case(customer(), None, [payment(told=None)]).fence is None


def test_a_missing_receipt_is_seen() -> None:
    assert judged([view()], [taken()], [payment()]).receipts_missing == 1
    unsent = receipt(outcome=Outcome.EXPIRED)
    assert judged([view(), unsent], [taken()], [payment()]).receipts_missing == 1
    shown = judged([view(), unsent], [taken()], [payment()], dead=[unsent.id])
    assert shown.receipts_with_staff == {"sms: in doubt twice": WithStaff(receipts=1, taken=0)}
    shown = judged([view(), unsent], [taken(), taken(2, 11)], [payment()], dead=[unsent.id])
    assert shown.receipts_with_staff == {"sms: in doubt twice": WithStaff(receipts=1, taken=1)}


def test_a_second_receipt_for_one_payment_is_seen() -> None:
    found = judged([view(), receipt(2), receipt(3)], [taken(), taken(2, 11), taken(3, 12)], [payment()])
    assert found.receipts_double == 1


def test_on_a_first_route_one_receipt_that_arrived_is_enough() -> None:
    first = replace(customer(), mode="first", channels=("email", "sms"))
    failed = receipt(2, channel="email", outcome=Outcome.FAILED)
    assert judged([view(), failed, receipt(3)], [taken(), taken(3, 12)], [payment()], who=first).clean
    assert judged([view(), failed], [taken()], [payment()], who=first).receipts_missing == 1


def test_an_attempt_whose_record_died_with_a_primary_is_counted_apart() -> None:
    twice = [taken(1, 20), taken(1, 26)]
    assert judged([view()], twice).twice == 1
    found = judged([view()], twice, died=[20.5])
    assert (found.clean, found.attempts_lost, found.twice) == (True, 1, 0)
    assert judged([view()], twice, died=[19]).attempts_lost == 1  # on its way when the primary died
    for elsewhen in (15, 22):
        found = judged([view()], twice, died=[elsewhen])
        assert (found.twice, found.attempts_lost) == (1, 0)


def test_no_failover_excuses_a_lost_share_or_a_receipt() -> None:
    assert judged([view(outcome=None, state=State.QUEUED)], [], died=[20]).lost == 1
    assert judged([view()], [taken()], [payment()], died=[10]).receipts_missing == 1
