"""Which of the providers' messages are which of tuma's, above all where no reference tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.bill import MessageView
from bot.domain.message import Kind, Lane, Outcome, State
from bot.replay.matching import Matching
from bot.sandbox.world import Message

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
CHAT = "700000044"


def view(id: str, minute: int = 0, **more: Any) -> MessageView:
    """A message as tuma tells of it."""
    known: dict[str, Any] = {
        "share": "s", "number": "55042914870044", "channel": "telegram", "kind": Kind.REMINDER, "lane": Lane.BULK,
        "state": State.DONE, "outcome": Outcome.SENT, "reason": None, "error": None, "delivery": None,
        "provider_id": None, "attempts": 1, "possible_duplicate": False, "segments": None, "to": None,
        "text": "Kumbusho", "due_at": None, "sent_at": None, "created_at": START + timedelta(minutes=minute),
    }  # fmt: skip
    return MessageView(id=id, **known | more)


def taken(id: str, minute: int = 0, **more: Any) -> Message:
    """A message as a provider took it."""
    known: dict[str, Any] = {"provider": "telegram", "channel": "telegram", "address": CHAT, "sender": "bot"}
    at = START + timedelta(minutes=minute, seconds=5)
    return Message(**known | {"id": id, "text": "Kumbusho", "at": at} | more)


def ids(matching: Matching, *views: MessageView) -> list[list[str]]:
    """The providers' ids of each view."""
    return [[each.id for each in matching.of(one)] for one in views]


def test_sms_and_mail_are_known_by_their_reference() -> None:
    sms = [taken("SM1", provider="twilio", channel="sms", reference=f"m=3-x.1&a={n}") for n in (1, 2)]
    mail = taken("Q1", provider="smtp", channel="email", reference="<3-x.2@shule.test>")
    first, second = view("3-x.1", channel="sms"), view("3-x.2", channel="email")
    matching = Matching([*sms, mail], [])
    assert ids(matching, first, second) == [["SM1", "SM1"], ["Q1"]]
    assert (matching.strays([first, second]), matching.strays([first])) == ([], [mail])


def test_telegram_is_known_by_the_answer() -> None:
    first, second = view("3-x.1", provider_id="7"), view("3-x.2", 10, provider_id="8")
    matching = Matching([taken("7"), taken("8", 10)], [(CHAT, second), (CHAT, first)])
    assert ids(matching, first, second) == [["7"], ["8"]]


def test_lost_answers_are_shared_out_in_order_of_time() -> None:
    first, second = view("3-x.1", state=State.IN_DOUBT), view("3-x.2", 10, state=State.IN_DOUBT)
    matching = Matching([taken("7"), taken("8", 10)], [(CHAT, first), (CHAT, second)])
    assert ids(matching, first, second) == [["7"], ["8"]]


def test_what_was_taken_before_a_message_was_made_is_not_its() -> None:
    doubted = view("3-x.2", 10, state=State.IN_DOUBT)
    matching = Matching([taken("7")], [(CHAT, doubted)])
    assert ids(matching, doubted) == [[]]
    assert len(matching.strays([doubted])) == 1


def test_a_flagged_duplicate_may_have_two() -> None:
    flagged = view("3-x.1", provider_id="8", possible_duplicate=True)
    matching = Matching([taken("7"), taken("8", 2)], [(CHAT, flagged)])
    assert ids(matching, flagged) == [["7", "8"]]


def test_a_second_one_that_nobody_doubts_is_a_duplicate() -> None:
    sure = view("3-x.1", provider_id="7")
    matching = Matching([taken("7"), taken("8", 2)], [(CHAT, sure)])
    assert ids(matching, sure) == [["7", "8"]]


def test_another_text_or_chat_is_a_stray() -> None:
    sure = view("3-x.1", provider_id="7")
    matching = Matching([taken("7"), taken("8", text="Asante"), taken("9", address="5")], [(CHAT, sure)])
    assert (ids(matching, sure), len(matching.strays([sure]))) == ([["7"]], 2)


def test_what_a_lost_worker_sent_has_no_text_and_gets_what_nobody_else_claims() -> None:
    known = view("3-x.1", provider_id="7")
    lost = view("3-x.2", 10, state=State.IN_DOUBT, text=None)
    matching = Matching([taken("7"), taken("8", 10, text="Risiti")], [(CHAT, known), (CHAT, lost)])
    assert ids(matching, known, lost) == [["7"], ["8"]]
    assert matching.strays([known, lost]) == []


def test_what_was_taken_before_a_lost_worker_had_it_stays_a_stray() -> None:
    lost = view("3-x.2", 10, state=State.IN_DOUBT, text=None)
    matching = Matching([taken("7", text="Risiti")], [(CHAT, lost)])
    assert ids(matching, lost) == [[]]
    assert [each.id for each in matching.strays([lost])] == ["7"]


def test_a_message_that_gave_way_to_another_rung_may_have_been_taken_before() -> None:
    late = view("3-x.2", outcome=Outcome.SUPERSEDED, reason="it could not be sent in time", text=None)
    matching = Matching([taken("8")], [(CHAT, late)])
    assert ids(matching, late) == [["8"]]


def test_two_lost_workers_may_have_sent_the_same_twice() -> None:
    lost = view("3-x.2", outcome=Outcome.FAILED, reason="in doubt twice", text=None, possible_duplicate=True)
    matching = Matching([taken("7"), taken("8", 1), taken("9", 2, text="Risiti")], [(CHAT, lost)])
    assert ids(matching, lost) == [["7", "8"]]
    assert [each.id for each in matching.strays([lost])] == ["9"]
