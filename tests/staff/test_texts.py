"""The two tables of texts: the same keys and fields, nothing unused, nothing missing, nothing Telegram refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

import bot.engine
import bot.staff
from bot.domain.bill import BillKind, BillStatus
from bot.domain.dead import Cause
from bot.domain.message import Kind, Lane, Outcome, State
from bot.engine.suggestions import Reason
from bot.sandbox.telegram_html import parse
from bot.staff.drafts import PATHS
from bot.staff.people import Role
from bot.staff.speech import Html, Speech
from bot.staff.texts import EN, SW, TABLES
from channels.base import ChannelName

FAMILIES: dict[str, type[Enum]] = {
    "status": BillStatus,
    "mine_status": BillStatus,
    "bill_kind": BillKind,
    "kind": Kind,
    "state": State,
    "outcome": Outcome,
    "channel": ChannelName,
    "lane": Lane,
    "hint": Cause,
}
NEWS = {
    "paid",
    "unmatched",
    "dead",
    "exhausted",
    "number_closed",
    "late",
    "successor",
    "no_successor",
    "cost_cap",
    "channel_paused",
    "channel_resumed",
    "payments_unknown",
    "callback_failed",
    "unknown_event",
}
DELIVERIES = {"delivered", "read", "undelivered", "failed"}
PLAIN = ("button.", "toast.", "command.")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def literals() -> Iterator[str]:
    """Every string in the bot's code but the tables themselves."""
    for path in Path(bot.staff.__file__).parent.glob("*.py"):
        if path.name != "texts.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def families() -> set[str]:
    members = {f"{name}.{member.value}" for name, enum in FAMILIES.items() for member in enum}
    members |= {f"because.{reason}" for reason in get_args(Reason)}
    members |= {f"role.{role.name.lower()}" for role in Role} | {f"news.{name}" for name in NEWS}
    return (
        members | {f"delivery.{name}" for name in DELIVERIES} | {key for key in EN if key.startswith("why.")}
    )


def test_both_languages_have_the_same_keys() -> None:
    assert set(SW) == set(EN)


def test_both_languages_fill_in_the_same_fields() -> None:
    assert {key for key in EN if fields(SW[key]) != fields(EN[key])} == set()


def test_no_text_is_unused() -> None:
    commands = {f"command.{name}" for name in literals()}
    assert set(EN) - set(literals()) - families() - commands == set()


def test_every_key_in_the_code_has_a_text() -> None:
    sections = {key.partition(".")[0] for key in EN}
    shape = re.compile(rf"(?:{'|'.join(sections)})\.[a-z_]+")
    used = {text for text in literals() if shape.fullmatch(text)} - set(PATHS.values())
    assert used - set(EN) == set()


def test_every_reason_with_words_is_one_that_the_engine_gives() -> None:
    files = [path for path in Path(bot.engine.__file__).parent.rglob("*") if path.suffix in (".py", ".lua")]
    engine = "\n".join(path.read_text() for path in files)
    reasons = {key.partition(".")[2] for key in EN if key.startswith("why.")}
    assert {
        reason for reason in reasons if f"'{reason}'" not in engine and f'"{reason}"' not in engine
    } == set()


def test_every_member_of_a_family_has_a_word() -> None:
    assert families() - set(EN) == set()


@pytest.mark.parametrize("locale", sorted(TABLES))
def test_texts_are_html_that_telegram_takes(locale: str) -> None:
    for key, text in TABLES[locale].items():
        if not key.startswith(PLAIN):
            parse(text)


@pytest.mark.parametrize("locale", sorted(TABLES))
def test_plain_texts_carry_no_markup_and_fit(locale: str) -> None:
    for key, text in TABLES[locale].items():
        if key.startswith(PLAIN):
            assert "<" not in text
            assert len(text) <= 100


def test_swahili_is_not_english() -> None:
    same = {
        key
        for key in EN
        if SW[key] == EN[key] and re.search("[a-z]{4}", re.sub("[{<][^}>]*[}>]", "", EN[key]))
    }
    assert same == {"command.language", "menu.language", "channel.whatsapp", "channel.telegram"}


def test_values_are_escaped_but_html_is_kept() -> None:
    say = Speech("en", "Africa/Dar_es_Salaam")
    assert say("search.none", text="<a> & {b}") == "No bill matches “&lt;a&gt; &amp; {b}”."
    assert "<i>x</i>" in say("error.refused", problems=Html("<i>x</i>"))


def test_unknown_language_falls_back_to_english() -> None:
    assert Speech("fr", "Africa/Dar_es_Salaam").plain("button.no") == "No"
