"""`tuma demo --once --json` as a stranger runs it: its verdict, and what it logs at the most talkative level."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bot.demo import cast_of
from bot.sandbox.city import Accounts


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run of the demo at log level debug."""
    home = tmp_path_factory.mktemp("home")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TUMA_LOG_LEVEL": "debug",
        "TUMA_LOG_FORMAT": "json",
    }
    command = [str(Path(sys.executable).with_name("tuma")), "demo", "--once", "--json"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=env, cwd=home, check=False
    )


@pytest.fixture(scope="module")
def verdict(told: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert told.returncode == 0, told.stderr[-2000:]
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def test_the_story_comes_true(verdict: dict[str, Any]) -> None:
    assert verdict["shares"] >= 6
    assert verdict["reminders_after_payment"] == 0
    assert verdict["receipts_per_payment"] == 1
    assert verdict["ledger"] == "ok"
    assert verdict["fence_ms"] > 0


def test_every_channel_and_kind_was_used(verdict: dict[str, Any]) -> None:
    sent: Counter[str] = Counter()
    for row in verdict["messages"]:
        if row["outcome"] == "sent":
            sent[row["channel"]] += row["count"]
            sent[row["kind"]] += row["count"]
    assert {"sms", "whatsapp", "email", "telegram"} <= sent.keys()
    assert {"instructions", "reminder", "receipt", "payment_failed"} <= sent.keys()
    assert {c.locale for c in cast_of(())} == {"sw", "en"}


def test_a_full_a_partial_and_a_failed_payment_were_answered(verdict: dict[str, Any]) -> None:
    assert {p["event"]: p["answer"] for p in verdict["payments"]} == {
        "failed": 200,
        "full": 200,
        "partial": 200,
    }


def test_the_longer_story_comes_true(verdict: dict[str, Any]) -> None:
    money = verdict["money"]
    assert all(money.values())
    assert len({money["created"], money["successor"], money["unmatched"]}) == 3
    assert money["closed"] == money["created"]
    assert verdict["seconds"] < 40


def test_the_first_route_fell_from_whatsapp_to_sms(told: subprocess.CompletedProcess[str]) -> None:
    assert "his number came by SMS instead" in told.stderr


def test_the_log_holds_no_contact_and_no_secret(told: subprocess.CompletedProcess[str]) -> None:
    logged = [line for line in told.stderr.splitlines() if line.startswith("{")]
    assert len(logged) > 20, "the demo logged next to nothing, so this test would prove nothing"
    text = "\n".join(logged)
    contacts = [value for c in cast_of(()) for value in (c.phone, c.email) if value]
    contacts += [phone.removeprefix("+") for phone in contacts if phone.startswith("+")]
    accounts = Accounts()
    secrets = [
        accounts.twilio.token,
        accounts.telegram.token,
        accounts.clickpesa.api_key,
        accounts.smtp.password,
    ]
    secrets += [accounts.clickpesa.checksum_key or ""]
    assert [value for value in contacts + secrets if value and value in text] == []
    assert not re.search(r"Bearer (?!•)\S|tuma_[0-9a-z]+_\S{8}", text)
