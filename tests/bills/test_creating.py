"""Shares whose control number tuma makes: once each, whatever is lost, and with the reason where it cannot be."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from structlog.testing import capture_logs

from bot.domain.bill import BillKind, BillMode
from bot.domain.bill_job import bill_job
from bot.domain.message import Lane, State
from bot.engine import keys
from bot.engine.inbox import Inbox
from bot.errors import Refused
from tests.bills.conftest import Office, Open, job, to_make, until_found
from tests.bills.test_successor import all_handed


async def test_a_share_gets_its_number_and_goes_on(office: Office) -> None:
    accepted = await office.engine.shares.accept(to_make(amount="45000"))
    assert (accepted.state, accepted.number, accepted.messages) == ("creating", "", [])
    async with office.making():
        share = await office.made(accepted.id)
    [message] = share.messages
    bill = office.bills[share.number]
    assert (share.state, message.state, message.number) == ("active", State.QUEUED, share.number)
    assert (bill.kind, bill.amount, bill.description) == ("order", Decimal(45000), "Term 2 fees")
    assert share.token == accepted.token


async def test_a_share_says_what_its_bill_did_not_say_when_it_was_made(office: Office) -> None:
    engine = office.engine
    async with office.making():
        asked = {"id": "b1", "create": "order", "amount": "45000"}
        number = (await engine.bill_claims.create(bill_job(asked, settings=engine.settings))).number
    first = job(number, due_in=timedelta(days=3), phone="+255754990010")
    await engine.shares.accept(first)
    [term] = (await engine.bills.get(number)).terms
    assert term.due_at is not None
    assert (term.due_at.date(), term.description) == (first.bill.due_at.date(), "Term 2 fees")  # type: ignore[union-attr]
    await engine.shares.accept(job(number, due_in=timedelta(days=9), phone="+255754990010"))
    assert (await engine.bills.get(number)).terms == [term]


async def test_the_name_that_a_bill_was_made_with_is_known_here(office: Office) -> None:
    engine = office.engine
    asked = {"id": "b1", "create": "order", "amount": "45000", "customer": {"name": "Neema"}}
    asked["customer"] |= {"phone": "+255754990011"}  # type: ignore[operator]
    async with office.making():
        number = (await engine.bill_claims.create(bill_job(asked, settings=engine.settings))).number
        assert (await engine.bills.get(number)).customer == "Neema"
        assert [hit.name for hit in await engine.bills.search("neema")] == ["Neema"]
        # Who it was made for is first, and needs no name again; another contact is not called by theirs.
        mine = await engine.shares.accept(job(number, name=None, phone="+255754990011", due_in=None))
        other = await engine.shares.accept(
            job(number, name=None, phone="+255754990012", due_in=None, additional_contact=True)
        )
        assert [(await engine.shares.by_token(each.token)).name for each in (mine, other)] == [
            "Neema",
            None,
        ]
        texts = await all_handed(office)
        assert (len(texts), sum("Neema" in text for text in texts)) == (2, 1)
        await office.pays(number, 20000)
        new = await office.successor(number)
    assert (await engine.bills.get(new)).customer == "Neema"
    assert {hit.number for hit in await engine.bills.search("neem")} == {number, new}
    texts = await all_handed(office)
    assert (len(texts), sum("Neema" in text for text in texts)) == (2, 1)
    await engine.contacts.forget("+255754990011", by="cli")
    assert {(await engine.bills.get(each)).customer for each in (number, new)} == {None}
    assert await engine.bills.search("neema") == []


async def test_number_share_and_claim_share_a_partition(office: Office) -> None:
    jobs = [to_make(lane=Lane.BULK) for _ in range(12)]
    await office.engine.shares.accept_many(jobs)
    async with office.making():
        shares = [await office.made(j.id) for j in jobs]
    records = office.engine.records
    assert [records.partition(s.number) for s in shares] == [records.partition(s.id) for s in shares]
    assert len({s.number for s in shares}) == 12


async def test_a_customer_number_carries_name_and_phone(office: Office) -> None:
    j = to_make(BillKind.CUSTOMER, bill_mode=BillMode.EXACT)
    await office.engine.shares.accept(j)
    async with office.making():
        share = await office.made(j.id)
    bill = office.bills[share.number]
    assert (bill.kind, bill.mode, bill.customer_name) == ("customer", "EXACT", "Asha Juma")
    assert bill.customer_phone == (j.customer.phone or "").removeprefix("+")


async def test_bulk_shares_go_together_fifty_at_most(office: Office) -> None:
    jobs = [to_make(lane=Lane.BULK) for _ in range(60)]
    await office.engine.shares.accept_many(jobs)
    calls: list[str] = []
    create = office.client.create_many

    async def counted(kind: BillKind, new: object) -> object:
        calls.append(f"{kind} {len(new)}")  # type: ignore[arg-type]
        return await create(kind, new)  # type: ignore[arg-type]

    office.client.create_many = counted  # type: ignore[assignment,method-assign]
    async with office.making():
        for j in jobs:
            await office.made(j.id)
    assert calls == ["order 50", "order 10"]
    assert len(office.bills) == 60


async def test_the_same_job_again_is_the_same_share_and_makes_one_number(office: Office) -> None:
    j = to_make()
    first, second = await office.engine.shares.accept(j), await office.engine.shares.accept(j)
    async with office.making():
        share = await office.made(j.id)
    third = await office.engine.shares.accept(j)
    assert (first.repeated, second.repeated, third.repeated) == (False, True, True)
    assert third.number == share.number
    assert len(office.bills) == 1
    assert (await office.engine.ledger.stats()).created == 1


@pytest.mark.parametrize("fault", ["error-after", "reset-after", "error-before", "reset-before"])
@pytest.mark.parametrize("lane", [Lane.URGENT, Lane.BULK])
async def test_a_lost_answer_makes_no_second_number(office: Office, fault: str, lane: Lane) -> None:
    jobs = [to_make(lane=lane) for _ in range(3)]
    office.city.faults.next("clickpesa", fault)
    await office.engine.shares.accept_many(jobs)
    async with office.making():
        shares = [await office.made(j.id) for j in jobs]
    assert sorted(office.bills) == sorted(s.number for s in shares)


async def test_a_crash_between_reference_and_call_makes_one_number(office: Office) -> None:
    j = to_make()
    await office.engine.shares.accept(j)
    [lost] = await office.engine.creations.urgent(1)  # taken by a process that dies before it calls
    assert office.bills == {}
    await _lease_ends(office)
    async with office.making():
        share = await office.made(j.id)
    assert (share.number, list(office.bills)) == (lost.reference, [lost.reference])


async def test_a_crash_between_call_and_commit_makes_one_number(office: Office) -> None:
    from bot.billpay.maker import _new

    j = to_make()
    await office.engine.shares.accept(j)
    [lost] = await office.engine.creations.urgent(1)
    await office.client.create(_new(lost))  # and dies before the answer is on record
    await _lease_ends(office)
    async with office.making():
        share = await office.made(j.id)
    assert (share.number, list(office.bills)) == (lost.reference, [lost.reference])


async def test_a_crash_after_the_number_is_known_is_driven_again(office: Office) -> None:
    j = to_make()
    await office.engine.shares.accept(j)
    [lost] = await office.engine.creations.urgent(1)
    records = office.engine.records
    assert await records.scripts.run(records.scripts.made(lost.partition, 1, j.id, lost.reference))
    assert (await office.engine.shares.accept(j)).number == lost.reference


async def _lease_ends(office: Office) -> None:
    for p in range(office.engine.partitions):
        for lane in "ub":
            name = f"{keys.prefix(p)}make:{lane}"
            for member in await office.engine.records.client.zrange(name, 0, -1):
                await office.engine.records.client.zadd(name, {member: 1})


async def test_a_reference_that_is_somebody_elses_is_drawn_again(office: Office) -> None:
    j = to_make(amount="45000")
    await office.engine.shares.accept(j)
    [taken] = await office.engine.creations.urgent(1)
    office.city.bill(taken.reference, 999, kind="order")
    await _lease_ends(office)
    async with office.making():
        share = await office.made(j.id)
    assert share.number != taken.reference
    assert office.bills[share.number].amount == Decimal(45000)


async def test_while_clickpesa_is_away_shares_wait_and_then_go_on(office: Office) -> None:
    jobs = [to_make(), to_make(lane=Lane.BULK)]
    office.city.faults.rate("clickpesa", "error-before", 1.0)
    await office.engine.shares.accept_many(jobs)
    async with office.making():
        await until_found(lambda: _failed_once(office))
        assert {(await office.engine.shares.get(j.id)).state for j in jobs} == {"creating"}
        assert (await office.engine.ledger.stats()).creating == 2
        office.city.faults.clear()
        for j in jobs:
            assert (await office.made(j.id)).state == "active"
    assert len(office.bills) == 2
    assert (await office.engine.ledger.stats()).creating == 0


async def _failed_once(office: Office) -> bool:
    return office.city.faults.counts().get("clickpesa", {}).get("error-before", 0) >= 2


async def test_what_clickpesa_refuses_is_told_with_its_reason(office: Office) -> None:
    office.client.create = _refusing  # type: ignore[method-assign]
    j = to_make()
    async with office.making():
        with pytest.raises(Refused, match=r"bill\.create: ClickPesa answered 400: the amount is too small"):
            await office.engine.shares.accept_and_wait(j, 10_000)
    share = await office.engine.shares.get(j.id)
    assert (share.state, share.number, share.messages) == ("refused", "", [])
    assert "the amount is too small" in (share.reason or "")


async def _refusing(new: object) -> str:
    from bot.billpay.errors import ClickPesaRefused

    raise ClickPesaRefused("the amount is too small", 400)


async def test_a_number_that_is_not_the_one_asked_for_is_told_to_nobody(office: Office) -> None:
    async def create(new: object) -> str:
        return "99999999999999"

    office.client.create = create  # type: ignore[method-assign]
    accepted = await office.engine.shares.accept(to_make())
    async with office.making():
        share = await office.made(accepted.id)
    assert (share.state, share.number, share.messages) == ("refused", "", [])
    assert "99999999999999 instead of" in (share.reason or "")


async def test_a_refused_id_may_be_used_again(office: Office) -> None:
    create, j = office.client.create, to_make()
    office.client.create = _refusing  # type: ignore[method-assign]
    async with office.making():
        with pytest.raises(Refused):
            await office.engine.shares.accept_and_wait(j, 10_000)
        office.client.create = create  # type: ignore[method-assign]
        corrected = msgspec.structs.replace(j, digest="other")
        assert (await office.engine.shares.accept_and_wait(corrected, 10_000)).state == "active"
    assert len(office.bills) == 1


async def test_a_refused_job_of_the_inbox_is_on_the_rejected_stream(office: Office) -> None:
    office.client.create = _refusing  # type: ignore[method-assign]
    inbox = Inbox(office.engine.records, office.engine.shares, office.engine.settings, "test")
    raw = '{"id": "x-1", "bill": {"create": "order", "amount": 45000}, "customer": {"phone": "0754123456"}}'
    await inbox.take([("tuma:inbox", "1-1", {"job": raw})])
    async with office.making():
        [(_, fields)] = await until_found(lambda: office.engine.records.client.xrange(keys.REJECTED))
    assert (fields["job"], fields["entry"]) == (raw, "1-1")
    assert "the amount is too small" in fields["error"]


async def test_a_refused_item_of_a_bulk_call_keeps_no_other_waiting(office: Office) -> None:
    good, bad = (
        to_make(BillKind.CUSTOMER, lane=Lane.BULK),
        to_make(BillKind.CUSTOMER, lane=Lane.BULK, name=None),
    )
    await office.engine.shares.accept_many([good, bad])
    async with office.making():
        assert (await office.made(good.id)).state == "active"
        refused = await office.made(bad.id)
    assert refused.state == "refused"
    assert "customer_name: is missing" in (refused.reason or "")


async def test_nobody_reachable_makes_no_number(office: Office) -> None:
    j = to_make(channels=("email",))
    with pytest.raises(Refused, match=r"route\.channels"):
        await office.engine.shares.accept(j)
    async with office.making():
        await asyncio.sleep(0.3)
    assert office.bills == {}
    assert (await office.engine.ledger.stats()).creating == 0


async def test_who_opts_out_before_the_number_exists_gets_none_and_it_is_closed(office: Office) -> None:
    j = to_make()
    await office.engine.shares.accept(j)
    await office.engine.contacts.opt_out("sms", j.customer.phone or "", proof="test")
    async with office.making():
        share = await office.made(j.id)
        assert share.state == "refused"
        await until_found(lambda: _all_closed(office))
    assert (await office.engine.ledger.stats()).created == 0


async def _all_closed(office: Office) -> bool:
    return {bill.status for bill in office.bills.values()} == {"INACTIVE"}


async def test_without_credentials_a_number_cannot_be_asked_for(open_office: Open) -> None:
    office = await open_office(clickpesa_client_id=None)
    with pytest.raises(Refused, match=r"bill\.create: cannot be done: tuma has no credentials"):
        await office.engine.shares.accept(to_make())


async def test_two_makers_make_each_number_once(office: Office) -> None:
    jobs = [to_make(lane=Lane.BULK) for _ in range(30)] + [to_make() for _ in range(10)]
    await office.engine.shares.accept_many(jobs)
    async with office.making(), office.making():
        shares = [await office.made(j.id) for j in jobs]
    assert sorted(office.bills) == sorted(s.number for s in shares)
    assert (await office.engine.ledger.check()).differences == []


async def test_a_payment_to_a_made_number_settles_it(office: Office) -> None:
    accepted = await office.engine.shares.accept(to_make())
    async with office.making():
        number = (await office.made(accepted.id)).number
        assert (await office.pays(number, 45000)).outcome == "settled"


async def test_while_clickpesa_rests_the_process_goes_on(office: Office) -> None:
    office.city.faults.rate("clickpesa", "error-before", 1.0)
    office.city.faults.rate("clickpesa", "query-error", 1.0)

    async def rests() -> bool:
        return any(line["event"] == "numbers_wait_for_clickpesa" for line in lines)

    with capture_logs() as lines:
        async with office.making():
            await office.engine.shares.accept(to_make())
            await until_found(rests)
            await office.engine.shares.accept(to_make())
            began = time.monotonic()
            for _ in range(20):
                await asyncio.sleep(0.01)
    assert time.monotonic() - began < 5
