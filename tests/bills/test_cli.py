"""`tuma bill` and `tuma share` where the number is made first, on a real ClickPesa stand-in."""

from __future__ import annotations

import asyncio
import csv
import shlex
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bot.sandbox.city import Sandbox
from tests.cli.conftest import Ran, Tuma, tuma, tuma_on_redis

__all__ = ["tuma", "tuma_on_redis"]


@pytest.fixture
def cli(tuma_on_redis: Tuma, city: Sandbox) -> Tuma:
    """The command line with credentials of the sandbox's ClickPesa."""
    account = city.accounts.clickpesa
    tuma_on_redis.env |= {
        "CLICKPESA_CLIENT_ID": account.client_id,
        "CLICKPESA_API_KEY": account.api_key,
        "CLICKPESA_CHECKSUM_KEY": account.checksum_key or "",
        "CLICKPESA_API_BASE": city.urls["clickpesa"],
        "TUMA_CREATE_WAIT_MS": "50",
    }
    return tuma_on_redis


async def run(cli: Tuma, *arguments: str | Path, stdin: str | None = None) -> Ran:
    """Run a command beside the servers of this test."""
    return await asyncio.to_thread(cli, *arguments, stdin=stdin)


async def test_one_bill_is_made_and_made_once(cli: Tuma, city: Sandbox) -> None:
    arguments = ("bill", "create", "--kind", "order", "--amount", "45000", "--description", "Fees", "--json")
    first, second = await run(cli, *arguments), await run(cli, *arguments)
    assert (first.code, first.json["state"]) == (0, "open")
    assert (second.json["number"], second.json["repeated"]) == (first.json["number"], True)
    assert list(city.clickpesa.bills) == [first.json["number"]]


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("order", ()),
        ("order", ("--email", "asha@example.com", "--term", "it's 2")),
        ("customer", ("--name", "Asha Juma", "--phone", "0754 123 456")),
        ("customer", ("--name", "Asha Juma", "--email", "asha@example.com", "--mode", "exact")),
    ],
)
async def test_the_command_that_shares_a_new_bill_runs_as_printed(
    cli: Tuma, kind: str, who: tuple[str, ...]
) -> None:
    arguments = ("bill", "create", "--kind", kind, "--amount", "45000", "--due-at", "2027-01-15", *who)
    made = await run(cli, *arguments)
    cli.env |= {"SMTP_URL": "smtp://127.0.0.1:9", "EMAIL_FROM": "bills@example.com"}
    program, *words = shlex.split(made.out.splitlines()[-1])
    assert (program, "PHONE" in words) == ("tuma", not who)
    shared = await run(cli, *(word.replace("PHONE", "0754123456") for word in words), "--json")
    assert (shared.code, shared.json["state"]) == (0, "active")
    shown = await run(cli, "bill", "show", shared.json["number"], "--json")
    assert (len(shown.json["terms"]), shown.json["kind"]) == (1, kind)
    assert shown.json["next_reminder_at"] is not None


async def test_a_file_of_bills_is_made_and_its_bad_rows_are_given_back(cli: Tuma, city: Sandbox) -> None:
    Path("bills.csv").write_text(
        "amount,description,name,phone\n45000,Fees,Asha Juma,0754123456\n60000,Fees,,0754123457\n"
        "1.001,Fees,Neema,0754123458\n"
    )
    ran = await run(cli, "bill", "create", "bills.csv", "--kind", "customer", "--json")
    assert ran.code == 1
    good = [line for line in ran.lines if line["ok"]]
    assert [line["row"] for line in good] == [2]
    assert city.clickpesa.bills[good[0]["number"]].customer_name == "Asha Juma"
    with Path("bills.csv.errors.csv").open(encoding="utf-8-sig") as file:
        errors = [row["error"] for row in csv.DictReader(file)]
    assert ["name" in errors[0], "amount" in errors[1]] == [True, True]
    assert "1 made, 0 made before, 2 refused" in ran.err


async def test_a_row_that_repeats_another_is_named_and_not_silently_one_bill(
    cli: Tuma, city: Sandbox
) -> None:
    Path("bills.csv").write_text("amount,description\n45000,Fees\n60000,Fees\n45000,Fees\n")
    ran = await run(cli, "bill", "create", "bills.csv", "--kind", "order", "--json")
    told = {line["row"]: line for line in ran.lines}
    assert (ran.code, sorted(told)) == (1, [2, 3, 4])
    [error] = told[4]["errors"]
    assert (error["field"], error["message"]) == ("id", "repeats row 2")
    assert "id of its own" in error["expected"]
    assert "2 made, 0 made before, 1 refused" in ran.err
    assert len(city.clickpesa.bills) == 2
    with Path("bills.csv.errors.csv").open(encoding="utf-8-sig") as file:
        [row] = csv.DictReader(file)
    Path("again.csv").write_text(f"id,amount,description\nsecond,{row['amount']},{row['description']}\n")
    assert (await run(cli, "bill", "create", "again.csv", "--kind", "order", "--json")).code == 0
    assert len(city.clickpesa.bills) == 3


async def test_a_share_row_that_repeats_one_whose_number_is_to_be_made_is_named(
    cli: Tuma, city: Sandbox
) -> None:
    row = "order,45000,0754123456\n"
    Path("shares.csv").write_text(f"create,amount,phone\n{row}{row}")
    ran = await run(cli, "share", "shares.csv", "--json")
    assert [(line["row"], line["ok"]) for line in ran.lines] == [(3, False), (2, True)]
    assert ran.lines[0]["errors"][0]["message"] == "repeats row 2"
    assert ran.lines[1]["repeated"] is False
    assert len(city.clickpesa.bills) == 1
    Path("again.csv").write_text(f"create,amount,phone\n{row}")
    assert (await run(cli, "share", "again.csv", "--json")).lines[0]["repeated"] is True


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (("--channels", "sms"), "channels"),
        (("--dry-run", "--additional-contact", "--data", "a=b"), "additional_contact, any of your own"),
        (("--due-at", "2027-01-15", "--id", "x"), "due_at, id"),
    ],
)
async def test_options_of_one_bill_beside_a_file_are_named_with_the_columns_for_them(
    cli: Tuma, options: tuple[str, ...], columns: str
) -> None:
    Path("bills.csv").write_text("number,amount,phone\n55042914871931,1000,0754123456\n")
    ran = await run(cli, "share", "bills.csv", *options)
    assert (ran.code, ran.err.rstrip().endswith(f"use its columns: {columns}")) == (2, True)
    assert all(word in ran.err for word in options if word.startswith("--") and word != "--dry-run")


async def test_an_amount_beside_a_file_of_bills_is_named_with_its_column(cli: Tuma) -> None:
    Path("bills.csv").write_text("amount,description\n1000,Fees\n")
    ran = await run(cli, "bill", "create", "bills.csv", "--kind", "order", "--amount", "5", "--json")
    assert (ran.code, "leave out --amount and use its columns: amount" in ran.json["error"]) == (2, True)


@pytest.mark.parametrize(("column", "cell"), [("kind", "orders"), ("create", "orders"), ("amount", "1")])
async def test_a_kind_that_is_wrong_or_missing_is_named_by_its_column(
    cli: Tuma, column: str, cell: str
) -> None:
    Path("bills.csv").write_text(f"description,{column}\nFees,{cell}\n")
    ran = await run(cli, "bill", "create", "bills.csv", "--json")
    named = [error["field"] for error in ran.lines[0]["errors"]]
    assert ("create" if column == "create" else "kind") in named
    assert ("kind" if column == "create" else "create") not in named


async def test_a_share_with_create_is_shared_under_its_new_number(cli: Tuma, city: Sandbox) -> None:
    arguments = ("share", "--create", "order", "--amount", "45000", "--phone", "0754123456", "--json")
    ran = await run(cli, *arguments)
    assert (ran.code, ran.json["state"], ran.json["number"] in city.clickpesa.bills) == (0, "active", True)
    shown = await run(cli, "status", ran.json["id"], "--json")
    assert shown.json["bill"]["number"] == ran.json["number"]


async def test_a_file_of_shares_mixes_numbers_that_exist_and_that_do_not(cli: Tuma, city: Sandbox) -> None:
    Path("bills.csv").write_text(
        "id,number,create,amount,name,phone\na,55042914871931,,1000,Asha,0754123456\n"
        "b,,order,2000,Juma,0754123457\nc,,customer,3000,,0754123458\n"
    )
    ran = await run(cli, "share", "bills.csv", "--json")
    by_row = {line["row"]: line for line in ran.lines}
    assert (by_row[2]["number"], by_row[3]["number"]) == ("55042914871931", next(iter(city.clickpesa.bills)))
    assert (by_row[4]["ok"], "name" in str(by_row[4]["errors"])) == (False, True)
    assert ran.code == 1


async def test_what_clickpesa_refuses_is_in_the_errors_file(cli: Tuma) -> None:
    Path("bills.csv").write_text("id,create,amount,name,phone\na,customer,2000,Juma,+35677123456\n")
    ran = await run(cli, "share", "bills.csv", "--json")
    assert (ran.code, ran.lines[0]["ok"]) == (1, False)
    assert "12 digits" in Path("bills.csv.errors.csv").read_text(encoding="utf-8-sig")


async def test_while_clickpesa_is_away_the_share_waits_and_says_so(
    cli: Tuma, city: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.cli.making.PATIENCE_MS", 300)
    city.faults.rate("clickpesa", "error-before", 1.0)
    ran = await run(cli, "share", "--create", "order", "--amount", "45000", "--phone", "0754123456")
    assert (ran.code, "waits for ClickPesa" in ran.out) == (0, True)
    shown = await run(cli, "status", ran.out.rsplit("share ", 1)[1].rstrip(").\n"), "--json")
    assert (shown.json["bill"], shown.json["shares"][0]["state"]) == (None, "creating")


async def test_show_update_and_cash_tell_both_sides(cli: Tuma, city: Sandbox) -> None:
    made = await run(cli, "bill", "create", "--kind", "order", "--amount", "45000", "--json")
    number = made.json["number"]
    changed = await run(
        cli, "bill", "update", number, "--amount", "60000", "--due-at", "2027-01-15", "--json"
    )
    assert (changed.json["clickpesa"], changed.json["bill"]["balance"]) == ("updated", "60000")
    assert changed.json["bill"]["terms"][0]["due_at"] == "2027-01-15T09:00:00Z"
    both = await run(cli, "bill", "show", number, "--json")
    assert (both.json["balance"], both.json["clickpesa"]["amount"]) == ("60000", "60000")
    paid = await run(cli, "payments", "add", number, "60000", "--note", "slip 1", "--json")
    assert paid.json["outcome"] == "settled"
    shown = await run(cli, "bill", "show", number)
    assert ("slip 1" in shown.out, "At ClickPesa" in shown.out) == (True, True)
    watched = await run(cli, "bill", "watch", number, "--json")
    assert watched.json["status"] == "settled"


async def test_what_cannot_be_is_said_with_what_would_be_right(cli: Tuma, city: Sandbox) -> None:
    ran = await run(cli, "bill", "show", "999")
    unknown = await run(cli, "bill", "update", "999", "--amount", "1", "--json")
    for text in (unknown.err, unknown.json["problems"][0]["field"], unknown.json["problems"][0]["expected"]):
        assert text
    assert "number: no bill with this number (given 999); expected one that was shared" in ran.err
    made = await run(cli, "bill", "create", "--kind", "order", "--amount", "45000", "--json")
    number = made.json["number"]
    negative = await run(cli, "payments", "add", number, "-5")
    assert negative.code != 0
    assert "amount: " in negative.err
    assert "No such option" not in negative.err
    assert (await run(cli, "payments", "add", number, "5", "--nte", "x")).code == 2
    due = await run(cli, "bill", "update", number, "--due-at", "2027-01-15", "--json")
    assert due.json["bill"]["terms"][0]["due_at"]
    gone = await run(cli, "bill", "update", number, "--due-at", "none", "--json")
    assert (gone.code, gone.json["bill"]["terms"][0]["due_at"]) == (0, None)


async def test_cash_that_was_entered_wrongly_is_taken_back(cli: Tuma, city: Sandbox) -> None:
    made = await run(cli, "bill", "create", "--kind", "order", "--amount", "45000", "--json")
    number = made.json["number"]
    payment = (await run(cli, "payments", "add", number, "20000", "--json")).json["payment"]
    assert (await run(cli, "payments", "take-back", payment)).code == 2
    ran = await run(cli, "payments", "take-back", payment, "--note", "another customer's")
    assert (ran.code, "counts no more" in ran.out) == (0, True)
    shown = await run(cli, "bill", "show", number, "--json")
    assert (shown.json["balance"], shown.json["payments"][0]["note"]) == (
        "45000",
        "taken back: another customer's",
    )
    again = await run(cli, "payments", "take-back", payment, "--note", "again")
    assert "was taken back before" in again.out


async def test_a_day_is_reconciled(cli: Tuma, city: Sandbox) -> None:
    made = await run(cli, "bill", "create", "--kind", "order", "--amount", "45000", "--json")
    await city.wallet.pay(made.json["number"], 45000, notify=False)
    day = datetime.now(ZoneInfo("Africa/Dar_es_Salaam")).date().isoformat()
    ran = await run(cli, "reconcile", day, "--csv", "day.csv", "--json")
    assert (ran.code, ran.json["differences"][0]["what"]) == (1, "it is not on record here")
    assert "not here" in Path("day.csv").read_text(encoding="utf-8-sig")
    assert (await run(cli, "reconcile", "yesterday")).code == 2
    assert (await run(cli, "reconcile")).code == 0
