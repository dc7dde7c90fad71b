"""Scripts that handle many messages at once write counters once, whatever happens to one of them; and carry little."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bot.domain.bill import AcceptedShare
from bot.engine import keys, library, merging
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import Call, HandedOut, now_ms
from bot.errors import ConfigError
from channels.base import Delivery, StatusUpdate
from tests.engine.conftest import job, paid

DAY_MS = 86_400_000


def outcome(held: HandedOut, attempt: int | None = None) -> dict[str, str]:
    fields = {"id": held.id, "a": str(attempt or held.attempt), "r": "sent", "why": "", "err": ""}
    return fields | {"pid": f"SM-{held.id}", "dl": "queued", "dr": "1", "seg": "1", "txt": "", "ok": "0"}


async def test_a_record_that_breaks_a_batch_costs_no_other_message_its_place_in_the_ledger(
    engine: Engine,
) -> None:
    scripts, client = engine.records.scripts, engine.records.client
    number = "55042914871931"
    p = engine.records.partition(number)
    for term in ("1", "2", "3"):
        await engine.shares.accept(job(number, term=term, kind="customer", additional_contact=True))
    held, _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (10, 10)))
    assert len(held) == 3
    await client.hdel(f"tuma:{{{p}}}:m:{held[1].id}", "ch")
    with pytest.raises(ResponseError):
        await scripts.run(scripts.finish(p, now_ms(), [outcome(h) for h in held]))
    counts = await client.hgetall(f"tuma:{{{p}}}:n")
    assert (counts["o:sent"], counts["done"]) == ("1", "1")
    streams = f"tuma:{{{p}}}:q:sms:u"
    assert held[0].entry not in {entry for entry, _ in await client.xrange(streams)}


async def test_what_is_handed_out_is_what_is_recorded(engine: Engine) -> None:
    await engine.shares.accept(job("55042914871931"))
    p, scripts, client = (
        engine.records.partition("55042914871931"),
        engine.records.scripts,
        engine.records.client,
    )
    [held], _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (10, 10)))
    prefix = f"tuma:{{{p}}}:"
    assert dict(held.message) == await client.hgetall(f"{prefix}m:{held.id}")
    sid = held.share["sid"]
    assert dict(held.share) == {"sid": sid, **await client.hgetall(f"{prefix}s:{sid}")}
    assert dict(held.account) == await client.hgetall(f"{prefix}a:55042914871931")
    assert (held.attempt, held.message["a"], held.message["st"]) == (1, "1", "handed_out")


def test_a_script_carries_the_helpers_it_needs_and_no_others() -> None:
    text = library.text("hand_out")
    assert text.startswith("#!lua flags=allow-oom\n")
    assert "local function payable(" in text
    assert "local function balance(" in text  # which payable needs
    assert "local function receipts(" not in text
    assert "FORMAT" in library.text("know")  # no script runs on records of a newer tuma


async def test_many_shares_are_few_calls_and_each_gets_its_own_answer(engine: Engine) -> None:
    jobs = [job(id=f"many-{n}", name=f"Asha {n}") for n in range(60)]
    await engine.shares.accept_many([job() for _ in range(60)])  # the server knows the scripts
    client = engine.records.client
    await client.config_resetstat()
    answers = await engine.shares.accept_many([*jobs, jobs[0]])
    calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls == 5  # one of claim, reach, accept, know and confirm, for all partitions
    for one, answer in zip([*jobs, jobs[0]], answers, strict=True):
        assert isinstance(answer, AcceptedShare)
        assert (answer.id, answer.number) == (one.id, one.bill.number)
        [message] = answer.messages
        p, local = keys.parse_message_id(message, engine.records.partitions)
        assert (await client.hgetall(f"{keys.prefix(p)}m:{local}"))["num"] == one.bill.number
    assert (await engine.ledger.check()).stats.created == 120


async def test_what_is_called_together_on_many_partitions_is_what_is_called_apart(engine: Engine) -> None:
    scripts = engine.records.scripts
    contacts = [(p, keys.contact_in(p, "phone", f"+25575400{p:04}")) for p in (0, 1, 0, 2)]
    calls = [scripts.know(p, key, 100, {"w": f"W{n}"}) for n, (p, key) in enumerate(contacts)]
    [(_, places)] = merging.merged(calls, apart=False)
    assert sorted(places) == [0, 1, 2, 3]
    assert await scripts.run_many(calls) == [{"w": "W0"}, {"w": "W1"}, {"w": "W2"}, {"w": "W3"}]
    assert await engine.records.client.hget(contacts[0][1], "w") == "W2"
    # A cluster may have them on different servers.
    apart = merging.merged(calls, apart=True)
    assert [places for _, places in apart] == [[0, 2], [1], [3]]
    assert [{key.partition("}")[0] for key in call.keys} for call, _ in apart] == [
        {f"tuma:{{{p}"} for p in (0, 1, 2)
    ]


@pytest.mark.single
async def test_a_newer_tuma_in_any_partition_of_a_call_keeps_all_of_it_from_being_made(
    engine: Engine,
) -> None:
    scripts, client = engine.records.scripts, engine.records.client
    contacts = [keys.contact_in(p, "phone", "+255754000001") for p in (0, 1)]
    await client.set(keys.partition_format(1), 99)
    with pytest.raises(ConfigError, match="start a newer tuma"):
        await scripts.run_many([scripts.know(p, key, 100, {"w": "W"}) for p, key in enumerate(contacts)])
    assert not await client.exists(*contacts)


@pytest.mark.single
async def test_the_channels_of_every_partition_of_a_call_are_woken(engine: Engine) -> None:
    jobs = [job(str(5000 + n)) for n in range(20)]
    partitions = {engine.records.partition(str(one.bill.number)) for one in jobs}
    async with engine.records.client.pubsub() as heard:
        await heard.execute_command("SSUBSCRIBE", *(f"{keys.prefix(p)}wake" for p in partitions))
        await engine.shares.accept_many(jobs)
        woken = set[str]()
        while len(woken) < len(partitions):
            said = await heard.parse_response(timeout=10)
            assert said is not None
            if said[0] == "smessage":
                woken.add(said[1])
    assert woken == {f"{keys.prefix(p)}wake" for p in partitions}


async def test_a_share_that_breaks_a_batch_leaves_the_ledger_right_and_all_can_be_sent_again(
    engine: Engine,
) -> None:
    jobs = [job(id=f"broken-{n}") for n in range(40)]
    broken = jobs[20].bill.number
    assert broken is not None
    client, key = engine.records.client, f"{keys.prefix(engine.records.partition(broken))}a:{broken}"
    await client.set(key, "no account")
    with pytest.raises(ResponseError):
        await engine.shares.accept_many(jobs)
    await client.delete(key)
    answers = await engine.shares.accept_many(jobs)
    assert all(isinstance(answer, AcceptedShare) for answer in answers)
    report = await engine.ledger.check()
    assert report.ok, report.differences
    assert report.stats.created == 40


async def test_calls_of_different_scripts_keep_their_order(engine: Engine) -> None:
    scripts, client = engine.records.scripts, engine.records.client
    contact = keys.contact_in(0, "phone", "+255754000001")
    said = '{"reason":"opted out","at":1,"proof":"STOP"}'
    await scripts.run(scripts.consent(0, contact, "in", "sms", "{}"))  # the server knows the scripts
    await scripts.run(scripts.reach(0, contact))
    asked: list[Call[Any]] = [
        scripts.reach(0, contact),
        scripts.consent(0, contact, "out", "sms", said),
        scripts.reach(0, contact),
    ]
    assert await scripts.run_many(asked) == [{}, 1, {"x:sms": said}]
    await client.hset(contact, mapping={"b:1": "1", "y:sms": said, "wi": "5", "chat": "77"})
    assert await scripts.run(scripts.know(0, contact, 100, {"w": "M-PESA"})) == {
        **{"x:sms": said, "chat": "77", "w": "M-PESA"}
    }
    assert await client.ttl(contact) == -1


@pytest.mark.parametrize("decided", ["x:email", "y:telegram", None])
async def test_a_contact_is_kept_for_good_once_they_decided_something(
    engine: Engine, decided: str | None
) -> None:
    scripts, client = engine.records.scripts, engine.records.client
    contact = keys.contact_in(0, "phone", "+255754000002")
    await client.hset(contact, mapping={"chat": "77", "w": "M-PESA", **({decided: "{}"} if decided else {})})
    await scripts.run(scripts.know(0, contact, 100, {"b:1": "1"}))
    assert await client.ttl(contact) == (-1 if decided else 100)


@pytest.mark.single
async def test_who_opts_out_while_a_share_is_taken_gets_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job()
    phone = one.customer.phone
    assert phone is not None
    confirm = engine.records.scripts.run_many_kept

    async def meanwhile(calls: Any) -> Any:
        answers = await confirm(calls)
        # The share is on its bill, and the contact does not know of it yet.
        await engine.contacts.opt_out("sms", phone, proof="STOP")
        return answers

    monkeypatch.setattr(engine.records.scripts, "run_many_kept", meanwhile)
    answer = await engine.shares.accept(one)
    [message] = answer.messages
    p, local = keys.parse_message_id(message, engine.records.partitions)
    assert (await engine.records.client.hgetall(f"{keys.prefix(p)}m:{local}"))["o"] == "suppressed"


@pytest.mark.single
async def test_all_reminders_that_are_due_come_in_one_look_though_each_call_takes_few(engine: Engine) -> None:
    jobs = [job(id=f"due-{n}") for n in range(90 * engine.partitions)]
    for answer in await engine.shares.accept_many(jobs):
        assert isinstance(answer, AcceptedShare)
    scheduler = Scheduler(engine.records, engine.shares, engine.settings)
    # Due in ten days, so that the first reminder comes in seven and the second in nine.
    assert await scheduler.tick(now_ms() + 6 * DAY_MS) > 0
    assert (await engine.ledger.check()).stats.created == len(jobs)
    await engine.records.client.config_resetstat()
    await scheduler.tick(now_ms() + 8 * DAY_MS)
    calls = (await engine.records.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls > 2 * engine.partitions
    report = await engine.ledger.check()
    assert report.ok, report.differences
    assert report.stats.created == 2 * len(jobs)
    token = (await engine.shares.get("due-0")).token
    assert (await engine.records.share(*keys.parse_token(token, engine.partitions)))["ri"] == "1"


async def sent(engine: Engine, count: int) -> list[str]:
    """The public ids of so many messages that were sent."""
    shares = await engine.shares.accept_many([job() for _ in range(count)])
    scripts, ids = engine.records.scripts, []
    for p in range(engine.partitions):
        held, _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (count, count)))
        assert await scripts.run(scripts.finish(p, now_ms(), [outcome(h) for h in held])) == []
        ids += [keys.message_id(p, h.id) for h in held]
    assert len(ids) == len(shares)
    return ids


def delivered(id: str) -> StatusUpdate:
    return StatusUpdate(id, f"SM-{id.partition('-')[2]}", Delivery.DELIVERED)


@pytest.mark.single
async def test_reports_and_payments_that_come_together_are_few_calls(engine: Engine) -> None:
    ids = await sent(engine, 40)
    views = [await engine.messages.get(id) for id in ids]
    # The server knows the scripts, alone and for many.
    await engine.messages.delivery(delivered(ids[0]))
    await asyncio.gather(*(engine.messages.delivery(delivered(id)) for id in ids[:4]))
    await engine.payments.settle(paid(views[0].number))
    await asyncio.gather(*(engine.payments.settle(paid(view.number)) for view in views[1:4]))
    client = engine.records.client
    await client.config_resetstat()
    assert all(await asyncio.gather(*(engine.messages.delivery(delivered(id)) for id in ids[4:])))
    said = await asyncio.gather(*(engine.payments.settle(paid(view.number)) for view in views[4:]))
    assert [one.outcome for one in said] == ["settled"] * 36
    assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] <= 4
    assert [(await engine.messages.get(id)).delivery for id in ids] == ["delivered"] * 40
    report = await engine.ledger.check()
    assert report.ok, report.differences
    assert report.stats.created == 80  # a receipt each


async def test_one_report_that_breaks_is_told_to_nobody_else_and_costs_no_other(engine: Engine) -> None:
    ids = await sent(engine, 12)
    p, local = keys.parse_message_id(ids[5], engine.partitions)
    client, key = engine.records.client, f"{keys.prefix(p)}s:{local.rpartition('.')[0]}"
    kept = await client.hgetall(key)
    await client.delete(key)
    await client.set(key, "no share")
    said = await asyncio.gather(
        *(engine.messages.delivery(delivered(id)) for id in ids), return_exceptions=True
    )
    assert isinstance(said[5], ResponseError)
    assert said[:5] + said[6:] == [True] * 11
    await client.delete(key)
    await client.hset(key, mapping=kept)
    assert await engine.messages.delivery(delivered(ids[5]))
    report = await engine.ledger.check()
    assert report.ok, report.differences


async def test_one_payment_that_breaks_is_told_to_nobody_else_and_costs_no_other(engine: Engine) -> None:
    numbers = [str(job().bill.number) for _ in range(12)]
    await engine.shares.accept_many([job(number) for number in numbers])
    client = engine.records.client
    key = f"{keys.prefix(engine.records.partition(numbers[5]))}a:{numbers[5]}"
    kept = await client.hgetall(key)
    await client.delete(key)
    await client.set(key, "no account")
    said = await asyncio.gather(
        *(engine.payments.settle(paid(number)) for number in numbers), return_exceptions=True
    )
    assert isinstance(said.pop(5), ResponseError)
    assert [getattr(one, "outcome", one) for one in said] == ["settled"] * 11
    await client.delete(key)
    await client.hset(key, mapping=kept)
    report = await engine.ledger.check()
    assert report.ok, report.differences


async def test_what_is_paid_late_on_stopped_bills_is_owed_by_none_of_them(engine: Engine) -> None:
    numbers = [str(job().bill.number) for _ in range(8)]
    await engine.shares.accept_many([job(number, kind="customer") for number in numbers])
    for number in numbers:
        await engine.bills.stop(number, by="test")
    said = await asyncio.gather(*(engine.payments.settle(paid(number, "5000")) for number in numbers))
    assert [one.outcome for one in said] == ["partial"] * 8
    for number in numbers:
        place = f"{keys.prefix(engine.records.partition(number))}owe"
        assert await engine.records.client.zscore(place, number) is None
    report = await engine.ledger.check()
    assert report.ok, report.differences


async def test_a_report_is_one_round_trip_for_its_message_and_one_for_its_contact(engine: Engine) -> None:
    [id] = await sent(engine, 1)
    await engine.messages.delivery(delivered(id))
    client = engine.records.client
    if isinstance(client, Redis):
        await client.config_resetstat()
        assert not await engine.messages.delivery(delivered(id))
        calls = await client.info("commandstats")
        assert {name: calls[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_hdel")} == {
            "cmdstat_evalsha": 1,
            "cmdstat_hdel": 1,
        }
        assert calls["cmdstat_hgetall"]["calls"] == 1  # by the script; nothing is read before it
