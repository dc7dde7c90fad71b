"""The plan of a chaos run: everything follows from the seed, and it strikes what it promises to strike."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from bot.domain.share import decode
from bot.settings import load
from tests.chaos.plan import CHANNELS, CLUSTER, FULL, PROCESSES, QUICK, SENTINEL, Plan, Scale, job, plan

ROLES = {roles for roles, _ in PROCESSES.values()}
BEGAN = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def full() -> Plan:
    return plan(7, FULL)


def test_the_same_seed_plans_the_same_and_another_one_does_not() -> None:
    assert plan(7, QUICK) == plan(7, QUICK)
    assert plan(7, QUICK).strikes != plan(8, QUICK).strikes
    assert plan(7, QUICK).customers != plan(8, QUICK).customers


@pytest.mark.parametrize("scale", [FULL, QUICK, SENTINEL, CLUSTER])
def test_the_promised_number_of_strikes_meets_every_role(scale: Scale) -> None:
    strikes = plan(7, scale).strikes
    counts = Counter(strike.what for strike in strikes)
    planned = {
        "kill": scale.kills,
        "freeze": scale.freezes,
        "outage": scale.outages,
        "migrate": scale.migrations,
    }
    assert counts == Counter(planned)
    assert {PROCESSES[each.whom][0] for each in strikes if each.what == "kill"} == ROLES


def test_the_full_run_kills_100_and_freezes_20_for_longer_than_a_lease(full: Plan) -> None:
    assert (FULL.kills, FULL.freezes) == (100, 20)
    lease_s = load({}, dotenv=None).lease_ms / 1000
    assert all(each.lasts_s > lease_s for each in full.strikes if each.what == "freeze")


def test_nobody_shares_a_number_or_an_address(full: Plan) -> None:
    for name in ("number", "phone", "email", "chat", "share"):
        assert len({getattr(customer, name) for customer in full.customers}) == FULL.shares


def test_every_channel_route_kind_and_act_is_played(full: Plan) -> None:
    played = full.customers
    assert {channel for customer in played for channel in customer.channels} == set(CHANNELS)
    assert {(customer.mode, customer.kind) for customer in played} == {
        (mode, kind) for mode in ("all", "first") for kind in ("order", "customer")
    }
    assert {customer.act for customer in played} == {"pay", "halves", "part", "fail", "none"}


def test_every_job_is_one_that_tuma_takes() -> None:
    settings = load({}, dotenv=None)
    for customer in plan(7, QUICK).customers:
        taken = decode(_json(job(customer, QUICK.tempo, BEGAN)), settings=settings)
        assert (taken.id, taken.bill.number) == (customer.share, customer.number)
        assert len(taken.reminders.before_due + taken.reminders.after_due) == 3


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)
