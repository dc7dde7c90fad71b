"""`tuma template`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Tuma

REPO = Path(__file__).parents[2]


@pytest.fixture
def own(tuma: Tuma, tmp_path: Path) -> Path:
    """The merchant's folder for Swahili messages."""
    tuma.env["TUMA_TEMPLATES"] = str(tmp_path / "own")
    folder = tmp_path / "own" / "default" / "sw"
    folder.mkdir(parents=True)
    return folder


def test_every_message_is_listed_and_ones_own_are_told_apart(tuma: Tuma, own: Path) -> None:
    (own / "receipt.sms.txt").write_text("{{ number }}")
    lines = tuma("template", "list", "--json").lines
    assert {(line["locale"], line["kind"], line["channel"]) for line in lines if line["overridden"]} == {
        ("sw", "receipt", "sms")
    }
    assert "your own" in tuma("template", "list").out


def test_a_message_is_previewed_in_every_language_and_channel(tuma: Tuma) -> None:
    lines = tuma("template", "preview", "receipt", "--json").lines
    assert {(line["locale"], line["channel"]) for line in lines} == {
        (locale, channel) for locale in ("sw", "en") for channel in ("sms", "whatsapp", "email", "telegram")
    }
    assert all(line["text"] for line in lines)


def test_one_message_is_previewed_for_a_person(tuma: Tuma) -> None:
    ran = tuma("template", "preview", "--channel", "sms", "--locale", "en")
    assert ran.out.startswith("instructions, en\n  sms (gsm-7, 1 SMS):\n")


def test_a_set_that_does_not_exist_is_said(tuma: Tuma) -> None:
    ran = tuma("template", "preview", "--set", "nowhere")
    assert (ran.code, ran.err) == (1, "Error: no template set 'nowhere'; there are default\n")


def test_shipped_templates_are_in_order(tuma: Tuma) -> None:
    assert tuma("template", "check").out == "All templates are in order.\n"


def test_an_unknown_variable_is_found(tuma: Tuma, own: Path) -> None:
    (own / "instructions.sms.txt").write_text("{{ numbre }}")
    ran = tuma("template", "check", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert "numbre" in ran.out
    assert "numbre" in tuma("template", "check").err


def test_a_language_that_nobody_wrote_is_refused(tuma: Tuma) -> None:
    ran = tuma("template", "preview", "--locale", "fr")
    assert ran.code == 2
    assert "sw, en" in ran.err


def test_the_button_that_the_docs_describe_is_in_order(tuma: Tuma, tmp_path: Path) -> None:
    """The shipped example, registered with a link button as it says, and a PUBLIC_URL to lead to."""
    example = tomllib.loads((REPO / "templates" / "whatsapp.example.toml").read_text("utf-8"))
    entry = example["default"]["sw"]["instructions"]
    variables = [*entry["variables"], "pay_token"]
    mapping = tmp_path / "whatsapp.toml"
    mapping.write_text(
        "[default.sw.instructions]\n"
        f'content_sid = "HX{"1" * 32}"\n'
        f"variables = {json.dumps(variables)}\n"
        f"body = {json.dumps(entry['body'])}\n"
        'button = "https://lipa.example.co.tz/pay/{{8}}"\n'
    )
    tuma.env["WHATSAPP_TEMPLATES"] = str(mapping)
    ran = tuma("template", "check", "--json")
    assert ["PUBLIC_URL is not set" in each["message"] for each in ran.json["findings"]] == [True]
    tuma.env["PUBLIC_URL"] = "https://lipa.example.co.tz"
    assert tuma("template", "check", "--json").json == {"ok": True, "findings": []}
