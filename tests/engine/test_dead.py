"""Dead letters: why, and what would mend it; found by filter; sent again once, alone or by the thousand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.bill import BillKind
from bot.domain.dead import Cause, DeadFilter
from bot.domain.message import Kind, Lane, Outcome, State
from bot.engine.dead import DeadLetters, Place
from bot.engine.engine import Engine
from bot.engine.keys import AUDIT
from bot.engine.scripts import now_ms
from bot.errors import NotFound, Refused
from channels.base import ChannelName, Delivery, StatusUpdate
from channels.errors import RecipientInvalid, Unavailable
from tests.engine.conftest import job, paid
from tests.engine.endings import DOUBT, HOLD, INVALID, REFUSED, SENT, TEMPLATE, end, give, hold, take


async def audit(engine: Engine) -> list[tuple[str, str, str]]:
    rows = await engine.records.client.xrange(AUDIT)
    return [(row["by"], row["action"], row["subject"]) for _, row in rows]


async def dead_sms(engine: Engine, count: int, result: dict[str, str] = REFUSED) -> list[str]:
    """That many dead letters, each of its own number; their ids, oldest first."""
    ids = []
    for _ in range(count):
        ids += (await engine.shares.accept(job())).messages
        await end(engine, result)
    return ids


# Why, and what would mend it


@pytest.mark.parametrize(
    ("result", "cause", "hint"),
    [
        (INVALID, Cause.ADDRESS, "edit the contact"),
        (TEMPLATE, Cause.TEMPLATE, "mend the template"),
        (REFUSED, Cause.CONTENT, "what the provider objects to"),
        ({**REFUSED, "why": "a reason of tomorrow"}, Cause.OTHER, "see what the provider says"),
    ],
)
async def test_a_dead_letter_says_why_when_and_what_would_mend_it(
    engine: Engine, result: dict[str, str], cause: Cause, hint: str
) -> None:
    before = now_ms()
    await dead_sms(engine, 1, result)
    [letter] = await engine.messages.dead()
    assert (letter.cause, letter.reason, letter.error) == (cause, result["why"], result["err"])
    assert hint in letter.hint
    assert before <= letter.died_at.timestamp() * 1000 <= now_ms()
    assert not letter.held


async def test_an_undelivered_message_is_dead_until_it_turns_out_to_be_delivered(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await end(engine, {**SENT, "ok": "0"})
    error = Unavailable("30003", "unreachable handset", most_retries=0)
    await engine.messages.delivery(StatusUpdate(id, "SM1", Delivery.UNDELIVERED, error))
    [letter] = await engine.messages.dead()
    assert (letter.cause, letter.outcome, letter.error) == (
        Cause.UNDELIVERED,
        Outcome.SENT,
        "30003: unreachable handset",
    )
    await engine.messages.delivery(StatusUpdate(id, "SM1", Delivery.DELIVERED))
    assert await engine.messages.dead() == []


async def test_what_waits_for_an_address_found_invalid_elsewhere_is_dead_too(engine: Engine) -> None:
    await engine.shares.accept(job("100", phone="+255754000001"))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await engine.shares.accept(job("101", phone="+255754000001", send_at=tomorrow))
    await engine.contacts.opt_out("sms", "+255754000001", proof="21614", reason="invalid address")
    letters = await engine.messages.dead()
    assert sorted((letter.number, letter.cause) for letter in letters) == [
        ("100", Cause.ADDRESS),
        ("101", Cause.ADDRESS),
    ]


async def test_who_said_no_leaves_no_dead_letter(engine: Engine) -> None:
    await engine.shares.accept(job("100", phone="+255754000001"))
    await engine.contacts.opt_out("sms", "+255754000001", proof="page")
    assert await engine.messages.dead() == []


async def test_a_dead_letter_outlives_other_messages_and_is_kept_until_staff_act(engine: Engine) -> None:
    [id] = await dead_sms(engine, 1)
    p, _, local = id.partition("-")
    key = f"tuma:{{{int(p, 16)}}}:m:{local}"
    assert await engine.records.client.ttl(key) == -1
    await engine.messages.replay(id, by="cli")
    assert 0 < await engine.records.client.ttl(key) <= 30 * 86_400


async def test_payment_takes_what_asked_for_money_off_the_list_and_leaves_dead_receipts(
    engine: Engine,
) -> None:
    accepted = await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    await end(engine, REFUSED)
    await engine.payments.settle(paid("100", "20000"))
    await end(engine, REFUSED)
    assert {letter.kind for letter in await engine.messages.dead()} == {Kind.INSTRUCTIONS, Kind.RECEIPT}
    await engine.payments.settle(paid("100", "25000"))
    assert [letter.kind for letter in await engine.messages.dead()] == [Kind.RECEIPT]
    assert (await engine.messages.get(accepted.messages[0])).reason == "refused by the provider"


async def test_a_message_that_fails_after_its_bill_was_paid_is_not_dead(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    held = await take(engine)
    await engine.payments.settle(paid("100"))
    await give(engine, held, REFUSED)
    assert await engine.messages.dead() == []


# Finding


async def test_pages_are_merged_over_partitions_newest_first(engine: Engine) -> None:
    ids = await dead_sms(engine, 23)
    assert len({id.partition("-")[0] for id in ids}) == engine.partitions
    pages = [await engine.messages.dead_page(limit=5, offset=at) for at in range(0, 30, 5)]
    assert [page.total for page in pages] == [23] * 6
    assert [letter.id for page in pages for letter in page.letters] == ids[::-1]


async def test_letters_that_died_in_the_same_millisecond_are_each_on_one_page(engine: Engine) -> None:
    accepted = await engine.shares.accept_many([job() for _ in range(40)])
    await end(engine, REFUSED)
    for p in range(engine.partitions):
        key = f"tuma:{{{p}}}:dead"
        for local in await engine.records.client.zrange(key, 0, -1):
            await engine.records.client.zadd(key, {local: 1_700_000_000_000})
    found = [letter.id for at in range(0, 40, 3) for letter in await engine.messages.dead(limit=3, offset=at)]
    assert len(found) == 40
    assert set(found) == {a.messages[0] for a in accepted}  # type: ignore[union-attr]


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("millisecond", [1, 10, 10**9])
async def test_a_long_walk_meets_each_once_in_order_and_can_begin_anywhere(
    engine: Engine, most: int, millisecond: int
) -> None:
    await engine.shares.accept_many([job() for _ in range(24)])
    await end(engine, REFUSED)
    places = []
    for p in range(engine.partitions):
        key = f"tuma:{{{p}}}:dead"
        for n, local in enumerate(await engine.records.client.zrange(key, 0, -1)):
            # Partitions die at times of their own, the last of them long after the others.
            at = (10**6 * (p == 3) + 7 * n * (p + 1)) // millisecond + 1
            await engine.records.client.zadd(key, {local: at})
            places.append(Place(at, p, local))
    places.sort(reverse=True)
    dead = DeadLetters(engine.records)
    for begin in (None, places[0], places[11], places[-1]):
        found = [
            f.place
            async for batch in dead.matching(DeadFilter(), after=begin, most=most)
            for f in batch.found
        ]
        assert found == [place for place in places if begin is None or place < begin]


async def test_a_record_past_its_retention_leaves_no_hole_in_a_page(engine: Engine) -> None:
    ids = await dead_sms(engine, 6)
    p, _, local = ids[4].partition("-")
    await engine.records.client.delete(f"tuma:{{{int(p, 16)}}}:m:{local}")
    page = await engine.messages.dead_page(limit=4)
    assert [letter.id for letter in page.letters] == [ids[5], ids[3], ids[2], ids[1]]
    assert page.total == 5


@pytest.fixture
async def mixed(engine: Engine) -> Engine:
    """Three dead letters that differ in everything."""
    await engine.shares.accept(job("100", id="inv-a"))
    await end(engine, TEMPLATE)
    await engine.shares.accept(job("101", channels=("whatsapp",)))
    await end(engine, {**REFUSED, "err": "63016: outside the WINDOW"}, "whatsapp")
    await engine.shares.accept(job("102"))
    await engine.payments.settle(paid("102"))
    await end(engine, REFUSED)
    return engine


@pytest.mark.parametrize(
    ("only", "numbers"),
    [
        (DeadFilter(), ["102", "101", "100"]),
        (DeadFilter(channel=ChannelName.WHATSAPP), ["101"]),
        (DeadFilter(kind=Kind.RECEIPT), ["102"]),
        (DeadFilter(reason="window"), ["101"]),
        (DeadFilter(reason="Template"), ["100"]),
        (DeadFilter(number="102"), ["102"]),
        (DeadFilter(share="inv-a"), ["100"]),
        (DeadFilter(share="inv-none"), []),
        (DeadFilter(number="101", share="inv-a"), []),
        (DeadFilter(channel=ChannelName.SMS, kind=Kind.INSTRUCTIONS), ["100"]),
    ],
)
async def test_filters_and_counts(mixed: Engine, only: DeadFilter, numbers: list[str]) -> None:
    page = await mixed.messages.dead_page(only)
    assert ([letter.number for letter in page.letters], page.total) == (numbers, len(numbers))


async def test_a_filtered_page_counts_all_that_match(engine: Engine) -> None:
    await dead_sms(engine, 7)
    page = await engine.messages.dead_page(DeadFilter(channel=ChannelName.SMS), limit=2, offset=4)
    assert (len(page.letters), page.total) == (2, 7)


# Sending again


async def test_a_replay_is_made_once_however_often_it_is_asked_for(engine: Engine) -> None:
    [id] = await dead_sms(engine, 1)
    made = await asyncio.gather(*(engine.messages.replay(id, by="cli:asha") for _ in range(10)))
    assert len(set(made)) == 1
    assert (await engine.ledger.stats()).created == 2
    assert (await engine.messages.get(id)).replayed_as == made[0]
    assert (await audit(engine))[0] == ("cli:asha", "replay", id)


async def test_only_dead_letters_are_replayed(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    with pytest.raises(Refused, match="it still waits: queued"):
        await engine.messages.replay(id, by="cli")
    await end(engine, SENT)
    with pytest.raises(Refused, match="no dead letter: sent"):
        await engine.messages.replay(id, by="cli")
    with pytest.raises(NotFound):
        await engine.messages.replay(id[:-1] + "9", by="cli")


async def test_nothing_is_replayed_for_a_paid_bill_that_died_with_an_older_version(engine: Engine) -> None:
    [id] = await dead_sms(engine, 1)
    number = (await engine.messages.get(id)).number
    p, _, local = id.partition("-")
    await engine.payments.settle(paid(number))
    await engine.records.client.zadd(f"tuma:{{{int(p, 16)}}}:dead", {local: 1})
    with pytest.raises(Refused, match="paid"):
        await engine.messages.replay(id, by="cli")
    assert await engine.messages.dead() == []


async def test_a_message_to_nowhere_stays_dead_until_the_obstacle_is_gone(engine: Engine) -> None:
    await engine.shares.accept(job("100", phone="+255754000001"))
    await end(engine, INVALID)
    [letter] = await engine.messages.dead()
    with pytest.raises(Refused, match="invalid address"):
        await engine.messages.replay(letter.id, by="cli")
    await engine.contacts.opt_in("sms", "+255754000001", proof="the number is back")
    [letter] = await engine.messages.dead()
    assert letter.cause is Cause.MENDED
    assert await engine.messages.replay(letter.id, by="cli")


async def test_an_exhausted_route_begins_again_at_its_first_channel(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", channels=("whatsapp", "sms"), mode="first"))
    await end(engine, REFUSED, "whatsapp")
    await end(engine, REFUSED)
    [letter] = await engine.messages.dead()
    assert letter.channel == "sms"
    again = await engine.messages.get(await engine.messages.replay(letter.id, by="cli"))
    assert (again.channel, again.state) == ("whatsapp", State.QUEUED)
    await end(engine, REFUSED, "whatsapp")
    assert [h["num"] for h in await end(engine, SENT)] == ["100"]
    assert await engine.messages.dead() == []
    assert (await engine.ledger.check()).ok


async def test_a_dead_receipt_is_replayed_with_its_payment(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    await engine.payments.settle(paid("100"))
    await end(engine, REFUSED)
    [letter] = await engine.messages.dead()
    made = await engine.messages.replay(letter.id, by="cli")
    p, _, local = made.partition("-")
    fields = await engine.records.client_hash(f"tuma:{{{int(p, 16)}}}:m:{local}")
    assert (fields["k"], fields["ln"], bool(fields["j"])) == ("receipt", "u", True)


async def test_many_are_replayed_by_filter_in_the_bulk_lane(engine: Engine) -> None:
    await dead_sms(engine, 5, TEMPLATE)
    [other] = await dead_sms(engine, 1, REFUSED)
    done = await engine.messages.replay_many(DeadFilter(reason="template"), by="cli:asha")
    assert (done.replayed, done.closed, done.refused, done.next) == (5, 0, 0, None)
    made = [await engine.messages.get(letter.replayed_as or "") for letter in done.letters]
    assert {(m.state, m.lane) for m in made} == {(State.QUEUED, Lane.BULK)}
    assert [letter.id for letter in await engine.messages.dead()] == [other]
    assert await audit(engine) == [("cli:asha", "replay", "5: reason=template")]


async def test_a_bounded_run_goes_on_where_it_ended_past_what_was_refused(engine: Engine) -> None:
    stuck = await dead_sms(engine, 2, INVALID)
    good = await dead_sms(engine, 3)
    stuck += await dead_sms(engine, 2, INVALID)
    runs, after = [], None
    for _ in range(4):
        runs.append(await engine.messages.replay_many(DeadFilter(), by="cli", limit=2, after=after))
        after = runs[-1].next
    tried = [letter.message for run in runs for letter in run.letters]
    assert (len(tried), set(tried), runs[-1].next) == (7, {*stuck, *good}, None)
    assert sum(run.replayed for run in runs) == 3
    assert {letter.id for letter in await engine.messages.dead()} == set(stuck)


async def test_a_run_does_not_meet_what_failed_again_meanwhile(engine: Engine) -> None:
    await dead_sms(engine, 4)
    first = await engine.messages.replay_many(DeadFilter(), by="cli", limit=2)
    await end(engine, REFUSED)
    rest = await engine.messages.replay_many(DeadFilter(), by="cli", after=first.next)
    assert (first.replayed, rest.replayed) == (2, 2)
    assert len(await engine.messages.dead()) == 2


async def test_of_several_about_one_share_only_the_newest_is_replayed(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a"))
    await end(engine, REFUSED)
    for _ in range(2):
        await engine.shares.resend("a", by="cli")
        await end(engine, REFUSED)
    done = await engine.messages.replay_many(DeadFilter(), by="cli")
    assert (done.replayed, done.closed) == (1, 2)
    assert {letter.reason for letter in done.letters if letter.outcome == "closed"} == {"a newer message"}
    assert len(await take(engine)) == 1
    assert (await engine.messages.get(accepted.messages[0])).outcome is Outcome.FAILED


async def test_many_are_replayed_by_id_and_the_unknown_are_named(engine: Engine) -> None:
    ids = await dead_sms(engine, 3)
    done = await engine.messages.replay_each([*ids, "0-" + "a" * 16 + ".1", "nonsense"], by="cli")
    assert [letter.outcome for letter in done.letters] == ["replayed"] * 3 + ["unknown"] * 2
    again = await engine.messages.replay_each(ids, by="cli")
    assert [a.replayed_as for a in again.letters] == [d.replayed_as for d in done.letters[:3]]


@pytest.mark.parametrize("limit", [0, 10_001])
async def test_a_run_has_bounds(engine: Engine, limit: int) -> None:
    with pytest.raises(Refused, match="1 to 10000"):
        await engine.messages.replay_many(DeadFilter(), by="cli", limit=limit)


async def test_a_place_that_is_none_is_refused(engine: Engine) -> None:
    with pytest.raises(Refused, match="no place in the list"):
        await engine.messages.replay_many(DeadFilter(), by="cli", after="yesterday")


async def test_more_than_a_script_takes_at_once(engine: Engine) -> None:
    await engine.shares.accept_many([job() for _ in range(1300)])
    while await end(engine, REFUSED):
        pass
    first = await engine.messages.replay_many(DeadFilter(), by="cli", limit=700)
    rest = await engine.messages.replay_many(DeadFilter(), by="cli", after=first.next)
    assert (first.replayed, rest.replayed, rest.next) == (700, 600, None)
    assert await engine.messages.dead() == []
    assert (await engine.ledger.check()).ok


# In doubt


@pytest.fixture
async def held(engine: Engine) -> str:
    """A Telegram message of number 100 that is held in doubt; its id."""
    accepted = await engine.shares.accept(job("100", id="a", channels=("telegram",), telegram="777"))
    await hold(engine)
    return accepted.messages[0]


async def test_a_held_one_waits_for_staff(engine: Engine, held: str) -> None:
    [letter] = await engine.messages.dead()
    assert (letter.id, letter.held, letter.cause, letter.reason) == (held, True, Cause.HELD, "in doubt")
    assert letter.state is State.IN_DOUBT
    [item] = await engine.news.read("test")
    assert (item.type, item.data["held"]) == ("dead", "1")


async def test_a_held_one_that_arrived_is_sent_with_a_note(engine: Engine, held: str) -> None:
    for _ in range(2):
        assert (await engine.messages.settle_doubt(held, True, by="cli")).outcome == "arrived"
    message = await engine.messages.get(held)
    assert (message.outcome, message.reason) == (Outcome.SENT, "staff say that it arrived")
    assert message.sent_at is not None
    assert await engine.messages.dead() == []
    assert (await audit(engine))[0] == ("cli", "arrived", held)
    assert (await engine.ledger.check()).ok


async def test_a_held_one_that_did_not_arrive_goes_again_flagged(engine: Engine, held: str) -> None:
    outcome = await engine.messages.settle_doubt(held, False, by="cli")
    again = await engine.messages.get(outcome.replayed_as or "")
    assert (again.state, again.possible_duplicate, again.channel) == (State.QUEUED, True, "telegram")
    old = await engine.messages.get(held)
    assert (old.outcome, old.reason) == (Outcome.SUPERSEDED, "sent again by staff")
    stats = await engine.ledger.stats()
    assert (stats.possible_duplicates, stats.in_doubt, stats.dead) == (1, 0, 0)
    with pytest.raises(Refused, match="it was sent again"):
        await engine.messages.settle_doubt(held, True, by="cli")
    assert (await engine.ledger.check()).ok


async def test_a_held_one_outlives_its_validity_on_the_list(engine: Engine) -> None:
    plain = job("100", channels=("telegram",), telegram="777", due_in=None, before=())
    [id] = (await engine.shares.accept(plain)).messages
    await hold(engine)
    later = now_ms() + 8 * 86_400_000
    for p in range(engine.partitions):
        await engine.records.scripts.run(engine.records.scripts.due(p, later, 100, HOLD))
    [letter] = await engine.messages.dead()
    assert (letter.outcome, letter.cause) == (Outcome.EXPIRED, Cause.DOUBT)
    await engine.messages.settle_doubt(id, True, by="cli")
    assert (await engine.messages.get(id)).outcome is Outcome.SENT
    assert (await engine.ledger.check()).ok


async def test_a_reminder_takes_the_place_of_a_held_one(engine: Engine, held: str) -> None:
    later = now_ms() + 8 * 86_400_000
    for p in range(engine.partitions):
        await engine.records.scripts.run(engine.records.scripts.due(p, later, 100, HOLD))
    assert (await engine.messages.get(held)).outcome is Outcome.SUPERSEDED
    assert await engine.messages.dead() == []


async def test_payment_ends_a_held_one(engine: Engine, held: str) -> None:
    await engine.payments.settle(paid("100"))
    message = await engine.messages.get(held)
    assert (message.outcome, message.reason) == (Outcome.CANCELED, "paid, while in doubt")
    assert await engine.messages.dead() == []
    assert (await engine.ledger.check()).ok


async def test_a_late_callback_ends_a_held_one(engine: Engine, held: str) -> None:
    await engine.messages.delivery(StatusUpdate(held, "1", Delivery.SENT))
    assert (await engine.messages.get(held)).outcome is Outcome.SENT
    assert await engine.messages.dead() == []


async def test_what_is_still_being_asked_about_is_not_for_staff_to_send_again(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await end(engine, {**DOUBT, "at": str(now_ms() + 60_000)})
    with pytest.raises(Refused, match="it still waits: in_doubt"):
        await engine.messages.settle_doubt(id, False, by="cli")
    assert (await engine.messages.settle_doubt(id, True, by="cli")).outcome == "arrived"


async def test_only_what_is_in_doubt_can_be_said_to_have_arrived(engine: Engine) -> None:
    [id] = await dead_sms(engine, 1)
    for arrived in (True, False):
        with pytest.raises(Refused, match="not in doubt"):
            await engine.messages.settle_doubt(id, arrived, by="cli")
    with pytest.raises(NotFound):
        await engine.messages.settle_doubt(id[:-1] + "9", True, by="cli")


async def test_one_that_failed_in_doubt_twice_may_turn_out_to_have_arrived(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    resend = {"sms": "resend"}
    p = int(id.partition("-")[0], 16)
    for _ in range(2):
        await end(engine, DOUBT)
        await engine.records.scripts.run(engine.records.scripts.due(p, now_ms(), 100, resend))
    [letter] = await engine.messages.dead()
    assert (letter.cause, letter.held, letter.reason) == (Cause.DOUBT, False, "in doubt twice")
    await engine.messages.settle_doubt(id, True, by="cli")
    assert (await engine.ledger.stats()).done == {"failed": 0, "sent": 1}
    assert (await engine.ledger.check()).ok


async def test_a_held_rung_moves_on_and_is_dead_no_more(engine: Engine) -> None:
    await engine.shares.accept(
        job(
            "100",
            channels=("telegram", "sms"),
            mode="first",
            telegram="777",
            confirm_within=timedelta(seconds=1),
        )
    )
    await hold(engine)
    assert len(await engine.messages.dead()) == 1
    later = now_ms() + 10_000
    for p in range(engine.partitions):
        await engine.records.scripts.run(engine.records.scripts.due(p, later, 100, {"telegram": "hold"}))
    assert await engine.messages.dead() == []
    assert len(await take(engine)) == 1
    assert (await engine.ledger.check()).ok


async def test_an_invalid_number_by_callback_names_its_cause(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await end(engine, {**SENT, "ok": "0"})
    error = RecipientInvalid("30006", "landline")
    await engine.messages.delivery(StatusUpdate(id, "SM1", Delivery.UNDELIVERED, error))
    [letter] = await engine.messages.dead()
    assert (letter.cause, letter.reason) == (Cause.ADDRESS, "invalid address")
