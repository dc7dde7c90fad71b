"""What staff do with bills, payments, contacts, channels and keys, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from bot.domain.bill import PaymentEvent
from bot.engine import costs
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms
from bot.settings import load
from tests.cli.conftest import Tuma
from tests.engine.conftest import job
from tests.engine.endings import DOUBT, INVALID, REFUSED, SENT, end, hold

NUMBER = "55042914871931"


@pytest.fixture
def tuma(tuma_on_redis: Tuma) -> Tuma:
    return tuma_on_redis


@pytest.fixture
def bill(tuma: Tuma) -> dict[str, Any]:
    """A bill that waits for its SMS; what the share answered."""
    return tuma(
        "share", "--number", NUMBER, "--amount", "45000", "--phone", "0754123456", "--name", "Asha",
        "--channels", "sms", "--kind", "customer", "--json",
    ).json  # fmt: skip


def on_engine(tuma: Tuma, work: Callable[[Engine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = await Engine.open(load(tuma.env, None))
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def pay(tuma: Tuma, number: str, amount: str | None, currency: str = "TZS") -> None:
    event = PaymentEvent(
        event="received",
        ids=("P1",),
        number=number,
        status="SUCCESS",
        amount=Decimal(amount) if amount else None,
        currency=currency,
    )
    on_engine(tuma, lambda engine: engine.payments.settle(event))


def test_status_shows_bill_share_and_messages(tuma: Tuma, bill: dict[str, Any]) -> None:
    ran = tuma("status", NUMBER)
    assert ran.code == 0
    for text in (NUMBER, "Asha", "+255•••3456", "TZS 45000", bill["id"], "instructions", "queued"):
        assert text in ran.out


def test_status_says_how_far_asking_about_a_doubt_has_come(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, lambda engine: end(engine, {**DOUBT, "at": "99999999999999"}))
    message = tuma("status", NUMBER, "--json").json["shares"][0]["messages"][0]
    assert message["asking"] == {"answers": 0, "of": 4, "obstacle": None}
    assert "asking the provider, 0 of 4" in " ".join(tuma("status", NUMBER).out.split())


def test_status_shows_what_a_bill_has_cost_and_that_its_cap_is_reached(tuma: Tuma) -> None:
    capped = load({**tuma.env, "TUMA_COST_CAP": "60", "TUMA_PRICES": "sms:22.5,whatsapp:40"}, None)

    async def beyond_the_cap(engine: Engine) -> None:
        await costs.publish(engine.records, capped)
        await engine.shares.accept(job(NUMBER, channels=("whatsapp", "sms"), mode="first", before=()))
        await end(engine, {**SENT, "ok": "0"}, "whatsapp")
        await Scheduler(engine.records, engine.shares, capped).tick(now_ms() + 3_600_000)

    on_engine(tuma, beyond_the_cap)
    [term] = tuma("status", NUMBER, "--json").json["bill"]["terms"]
    assert term["cost"] == "40"
    assert term["cost_cap_reached_at"]
    assert "40, cap reached" in " ".join(tuma("status", NUMBER).out.split())


def test_status_is_found_by_share_as_well(tuma: Tuma, bill: dict[str, Any]) -> None:
    assert tuma("status", bill["id"], "--json").json["bill"]["number"] == NUMBER


def test_status_of_nothing_is_one_line(tuma: Tuma) -> None:
    ran = tuma("status", "inv-9")
    assert (ran.code, ran.err) == (1, "Error: no bill and no share is called inv-9\n")


def test_bill_show_names_payments(tuma: Tuma, bill: dict[str, Any]) -> None:
    pay(tuma, NUMBER, "5000")
    ran = tuma("bill", "show", NUMBER)
    assert "TZS 40000" in ran.out
    assert "SUCCESS" in ran.out


def test_times_are_shown_on_the_merchants_clock(tuma: Tuma) -> None:
    tuma(
        "share",
        "--number",
        "7",
        "--amount",
        "5",
        "--phone",
        "0754123456",
        "--due-at",
        "2099-12-01T09:00:00+03:00",
    )
    assert "2099-12-01 09:00:00" in tuma("bill", "show", "7").out


def test_stop_cancels_what_waits(tuma: Tuma, bill: dict[str, Any]) -> None:
    assert tuma("stop", NUMBER, "--json").json == {"ok": True, "number": NUMBER, "canceled": 1}
    assert tuma("bill", "show", NUMBER, "--json").json["status"] == "stopped"
    assert "0 waiting message(s)" in tuma("stop", NUMBER).out


def test_stop_of_an_unknown_number_fails(tuma: Tuma) -> None:
    assert tuma("stop", "1").code == 1


def test_an_unmatched_payment_is_listed_and_matched(tuma: Tuma, bill: dict[str, Any]) -> None:
    pay(tuma, "999", "45000")
    [payment] = tuma("payments", "unmatched", "--json").lines
    assert payment["number"] == "999"
    assert payment["id"] in tuma("payments", "unmatched").out
    assert tuma("payments", "match", payment["id"], NUMBER).out.startswith("settled")
    assert tuma("bill", "show", NUMBER, "--json").json["balance"] == "0"
    assert tuma("payments", "unmatched").out == "Unmatched payments: none\n"


def test_a_dismissed_payment_is_off_the_list_and_counts_for_nothing(tuma: Tuma, bill: dict[str, Any]) -> None:
    pay(tuma, "999", "45000")
    [payment] = tuma("payments", "unmatched", "--json").lines
    assert tuma("payments", "dismiss", payment["id"], "--json").json == {"ok": True, "payment": payment["id"]}
    assert tuma("payments", "unmatched", "--json").out == ""
    assert tuma("payments", "dismiss", "pay_x").code == 1


def test_a_payment_that_is_none_cannot_be_matched(tuma: Tuma, bill: dict[str, Any]) -> None:
    ran = tuma("payments", "match", "pay_x", NUMBER, "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)


@pytest.mark.parametrize("number", ["999", NUMBER])
@pytest.mark.parametrize(("amount", "why"), [("45000", "it is in USD, the bill in TZS"), (None, "no amount")])
def test_a_match_that_counts_nothing_fails_and_says_why(
    tuma: Tuma, bill: dict[str, Any], number: str, amount: str | None, why: str
) -> None:
    pay(tuma, number, amount, "USD")
    [payment] = tuma("payments", "unmatched", "--json").lines
    ran = tuma("payments", "match", payment["id"], NUMBER)
    assert (ran.code, why in ran.err, "expected" in ran.err) == (1, True, True)
    assert [p["id"] for p in tuma("payments", "unmatched", "--json").lines] == [payment["id"]]
    assert tuma("payments", "dismiss", payment["id"]).code == 0


def test_dead_letters_are_listed(tuma: Tuma) -> None:
    assert tuma("dead", "list").out == "Dead letters: none\n"
    assert tuma("dead", "list", "--json").out == ""


async def _end(engine: Engine, result: dict[str, str] = REFUSED) -> None:
    await end(engine, result)


def test_a_dead_letter_says_what_to_do(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, partial(_end, result=INVALID))
    [letter] = tuma("dead", "list", "--json").lines
    assert (letter["id"], letter["cause"]) == (bill["messages"][0], "address")
    assert "edit the contact of the share" in tuma("dead", "list").out


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--channel", "sms"), 1),
        (("--channel", "email"), 0),
        (("--kind", "receipt"), 0),
        (("--reason", "TOO LONG"), 1),
        (("--number", NUMBER), 1),
        (("--number", "1"), 0),
        (("--share", "inv-9"), 0),
    ],
)
def test_dead_letters_are_filtered(
    tuma: Tuma, bill: dict[str, Any], options: tuple[str, ...], found: int
) -> None:
    on_engine(tuma, _end)
    assert len(tuma("dead", "list", *options, "--json").lines) == found


def test_a_dead_letter_is_replayed_by_id_once(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, _end)
    first = tuma("dead", "replay", bill["messages"][0], "--json").json
    assert (first["ok"], first["outcome"]) == (True, "replayed")
    assert tuma("dead", "replay", bill["messages"][0], "--json").json == first
    assert "is queued again as" in tuma("dead", "replay", bill["messages"][0]).out


def test_all_that_a_filter_means_are_replayed(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, _end)
    assert tuma("dead", "replay", "--all", "--channel", "email").out.startswith("0 queued again")
    ran = tuma("dead", "replay", "--all", "--reason", "too long")
    assert ran.out == "1 queued again, 0 not needed any more, 0 refused.\n"
    assert tuma("dead", "list").out == "Dead letters: none\n"


def test_of_several_ids_each_has_its_outcome(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, _end)
    ran = tuma("dead", "replay", bill["messages"][0], "nonsense", "--json")
    assert (ran.code, [(line["ok"], line["outcome"]) for line in ran.lines]) == (
        1,
        [(True, "replayed"), (False, "unknown")],
    )


@pytest.mark.parametrize("arguments", [(), ("x", "--all"), ("x", "--channel", "sms")])
def test_a_replay_is_by_ids_or_of_all(tuma: Tuma, arguments: tuple[str, ...]) -> None:
    assert tuma("dead", "replay", *arguments).code == 2


def test_a_held_message_is_said_to_have_arrived(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, partial(hold, channel="sms"))
    assert "ask the customer" in tuma("dead", "list").out
    ran = tuma("dead", "arrived", "nonsense", bill["messages"][0])
    assert (ran.code, ran.err) == (1, "Error: nonsense: no such message\n")
    assert "noted as arrived" in ran.out
    assert tuma("dead", "list").out == "Dead letters: none\n"


def test_a_wrong_phone_is_corrected_and_the_letter_sent_there(tuma: Tuma, bill: dict[str, Any]) -> None:
    on_engine(tuma, partial(_end, result=INVALID))
    ran = tuma("contact", "edit", bill["id"], "--phone", "0754 999 888")
    assert "+255•••9888" in ran.out
    assert ran.err == f"1 dead letter(s): tuma dead replay --all --share {bill['id']}\n"
    assert tuma("dead", "replay", "--all", "--share", bill["id"]).out.startswith("1 queued again")
    assert tuma("contact", "show", "0754999888", "--json").json["numbers"] == [NUMBER]


def test_an_edit_names_what_is_wrong(tuma: Tuma, bill: dict[str, Any]) -> None:
    ran = tuma("contact", "edit", bill["id"], "--phone", "12", "--email", "asha", "--json")
    assert (ran.code, [problem["field"] for problem in ran.json["problems"]]) == (1, ["phone", "email"])
    assert tuma("contact", "edit", bill["id"]).code == 1
    assert tuma("contact", "edit", "inv-9", "--phone", "0754999888").err == "Error: no share inv-9\n"


def test_what_is_not_dead_cannot_be_replayed(tuma: Tuma, bill: dict[str, Any]) -> None:
    ran = tuma("dead", "replay", bill["messages"][0])
    assert ran.code == 1
    assert ran.err.startswith("Error: ")


def test_a_channel_is_paused_and_resumed(tuma: Tuma) -> None:
    tuma("channel", "pause", "sms", "--reason", "wrong sender")
    states = {line["channel"]: line for line in tuma("channel", "list", "--json").lines}
    assert (states["sms"]["state"], states["sms"]["reason"]) == ("paused", "wrong sender")
    assert states["email"]["state"] == "off"
    assert "wrong sender" in tuma("channel", "list").out
    assert tuma("channel", "resume", "sms", "--json").json["state"] == "on"
    assert "wrong sender" not in tuma("channel", "list").out


def test_an_unknown_channel_is_a_usage_error(tuma: Tuma) -> None:
    assert tuma("channel", "pause", "pigeon").code == 2


def test_opting_out_stops_one_channel_and_opting_in_opens_it(tuma: Tuma, bill: dict[str, Any]) -> None:
    assert (
        tuma("contact", "optout", "sms", "0754 123 456", "--proof", "called us", "--json").json["canceled"]
        == 1
    )
    found = tuma("contact", "show", "+255754123456", "--json").json
    assert found["address"] == "+255•••3456"
    assert [(one["channel"], one["proof"].partition(" (")[0]) for one in found["suppressed"]] == [
        ("sms", "called us")
    ]
    assert "called us" in tuma("contact", "show", "0754123456").out
    tuma("contact", "optin", "sms", "0754123456")
    assert tuma("contact", "show", "0754123456", "--json").json["suppressed"] == []


@pytest.mark.parametrize(
    ("contact", "kind"),
    [
        ("asha@Example.com", "email"),
        ("123456789", "telegram"),
        ("telegram:712345678", "telegram"),
        ("+255712345678", "phone"),
        ("0712345678", "phone"),
    ],
)
def test_a_contact_is_told_apart_by_its_form(tuma: Tuma, contact: str, kind: str) -> None:
    tuma("contact", "optout", {"phone": "sms"}.get(kind, kind), contact)
    assert tuma("contact", "show", contact, "--json").json["kind"] == kind


def test_a_contact_that_is_none_is_refused_without_repeating_it(tuma: Tuma) -> None:
    ran = tuma("contact", "show", "Asha 0754")
    assert ran.code == 2
    assert "0754 1" not in ran.err.replace("0754 123 456", "")


def test_an_unknown_contact_is_one_line(tuma: Tuma) -> None:
    assert tuma("contact", "show", "0754999999").err == "Error: no such contact\n"


def test_a_chat_is_linked_by_hand(tuma: Tuma) -> None:
    tuma.env["TELEGRAM_BOT_TOKEN"] = "1:x"
    tuma(
        "share",
        "--number",
        NUMBER,
        "--amount",
        "5",
        "--phone",
        "0754123456",
        "--channels",
        "sms telegram",
        "--id",
        "a",
    )
    token = on_engine(tuma, _link_token)
    assert tuma("contact", "link", token, "123456789", "--json").json["number"] == NUMBER
    assert "linked" in tuma("contact", "show", "0754123456").out


async def _link_token(engine: Engine) -> str:
    from bot.engine import keys

    token = (await engine.shares.get("a")).token
    p, sid = keys.parse_token(token, engine.partitions)
    share = await engine.records.share(p, sid)
    return keys.link_payload(p, sid, share["lt"])


def test_a_forged_link_is_refused(tuma: Tuma) -> None:
    assert tuma("contact", "link", "0-aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb", "123456789").code == 1


def test_a_key_is_shown_once_listed_and_revoked(tuma: Tuma) -> None:
    made = tuma("key", "create", "shop", "--scope", "share", "--json").json
    assert made["key"].startswith(f"tuma_{made['id']}_")
    [listed] = tuma("key", "list", "--json").lines
    assert (listed["name"], listed["scopes"]) == ("shop", ["share"])
    assert made["key"] not in tuma("key", "list").out
    assert tuma("key", "revoke", made["id"]).code == 0
    assert tuma("key", "list").out == "None.\n"


def test_a_person_gets_the_key_alone_on_stdout(tuma: Tuma) -> None:
    ran = tuma("key", "create", "shop")
    assert ran.out.startswith("tuma_")
    assert "cannot be shown again" in ran.err


def test_a_scope_that_is_none_is_refused(tuma: Tuma) -> None:
    ran = tuma("key", "create", "shop", "--scope", "root")
    assert ran.code == 2
    assert "share, read, staff" in ran.err


def test_export_holds_everything_and_no_address(tuma: Tuma, bill: dict[str, Any]) -> None:
    pay(tuma, NUMBER, "5000")
    pay(tuma, "999", "1")
    ran = tuma("export")
    kinds = [line["type"] for line in ran.lines]
    assert kinds == ["bill", "share", "message", "message", "payment", "payment"]
    assert "754123456" not in ran.out
    assert ran.err == "6 record(s).\n"


@pytest.mark.parametrize("command", [("forget",), ("contact", "show")])
@pytest.mark.parametrize("digits", ["712345678", "255712345678"])
def test_digits_that_may_be_a_phone_or_a_chat_are_refused_with_both_readings(
    tuma: Tuma, command: tuple[str, ...], digits: str
) -> None:
    ran = tuma(*command, digits)
    assert ran.code == 2
    assert "the phone +255•••5678 or the Telegram chat •••678" in ran.err
    assert "telegram:" in ran.err


def test_a_chat_that_only_opted_out_is_not_linked(tuma: Tuma) -> None:
    tuma("contact", "optout", "telegram", "telegram:712345678")
    assert tuma("contact", "show", "telegram:712345678", "--json").json["telegram"] is False
    assert "linked" not in tuma("contact", "show", "telegram:712345678").out
