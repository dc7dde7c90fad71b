"""Approved WhatsApp templates: complete variables, or an error before Twilio fills in sample values."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render.library import templates_dir
from bot.render.samples import sample_facts, variants
from bot.render.templates import Renderer
from bot.render.whatsapp import Mapped, problems
from channels.base import ChannelName, WhatsAppContent
from tests.render.examples import facts, rendered, renderer, write

SID = "HX" + "1" * 32
WHATSAPP = ChannelName.WHATSAPP
EXAMPLE = templates_dir() / "whatsapp.example.toml"


def mapped(folder: Path, text: str) -> Renderer:
    return renderer(whatsapp_templates=write(folder, "wa.toml", text) / "wa.toml")


def entry(variables: str, place: str = "default.en.reminder", body: str = "") -> str:
    return f'[{place}]\ncontent_sid = "{SID}"\nvariables = {variables}\n' + (
        f'body = "{body}"\n' if body else ""
    )


def test_variables_follow_the_order_of_the_mapping(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['first_name', 'amount', 'number', \"due or '-'\"]"))
    content = rendered(WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, due_at=None), own)
    assert content.content_sid == SID
    assert content.variables == {"1": "Asha", "2": "TZS 45,000", "3": "55042914871931", "4": "-"}


@pytest.mark.parametrize("place", ["default.sw.reminder", "default.en.reminder"])
def test_a_customer_gets_another_language_before_no_message(tmp_path: Path, place: str) -> None:
    content = rendered(
        WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, "fr"), mapped(tmp_path, entry("['number']", place))
    )
    assert content.content_sid == SID


def test_a_kind_without_a_mapping_has_only_free_text(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['number']"))
    assert rendered(WhatsAppContent, sample_facts(Kind.RECEIPT, WHATSAPP, "en"), own).content_sid is None


def test_outside_the_window_the_text_is_that_of_the_filled_template(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['first_name', 'number']", body="Habari {{1}}, lipa {{2}} leo."))
    content = rendered(WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, window_open=False), own)
    assert content.sent_text == "Habari Asha, lipa 55042914871931 leo."
    opened = rendered(WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, window_open=True), own)
    assert opened.sent_text == opened.text != content.sent_text


def test_a_template_whose_body_is_not_known_is_told_by_its_sid_and_values(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['first_name', 'number']"))
    content = rendered(WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, window_open=False), own)
    assert content.sent_text == f"{SID} {{{{1}}}}: Asha, {{{{2}}}}: 55042914871931"


def test_values_have_no_line_breaks_tabs_or_runs_of_spaces(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("[\"name ~ '\\n\\t' ~ '      ' ~ number\"]"))
    content = rendered(WhatsAppContent, facts(Kind.REMINDER, WHATSAPP, name="Asha\n\tJuma"), own)
    assert content.variables == {"1": "Asha Juma 55042914871931"}


def test_an_empty_variable_is_an_error_that_names_it(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['number', 'name']"))
    with pytest.raises(TemplateError, match=r"wa.toml \[default.en.reminder\] variable 2.* is empty"):
        own.render(facts(Kind.REMINDER, WHATSAPP, name=None))


def test_an_unknown_variable_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="nmae"):
        mapped(tmp_path, entry("['nmae']")).render(sample_facts(Kind.REMINDER, WHATSAPP, "en"))


def test_a_message_over_the_limit_is_an_error(tmp_path: Path) -> None:
    own = mapped(tmp_path, entry("['description']", body="x" * 900 + " {{1}} y"))
    with pytest.raises(TemplateError, match="1024"):
        own.render(facts(Kind.REMINDER, WHATSAPP, description="d" * 300))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default.en.remindr]\ncontent_sid='x'\nvariables=[]", "no such kind"),
        ("[default.en.reminder]\ncontent_sid='x'", "needs content_sid"),
        ("[default.en.reminder]\ncontent_sid='x'\nvariables=[]\nvars=1", "unknown key vars"),
        ("[default]\nen = 1", "expected a table"),
        ("[default", "not valid TOML"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        mapped(tmp_path, text)


def test_a_mapping_file_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="WHATSAPP_TEMPLATES"):
        renderer(whatsapp_templates=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{{1}} at the start", "begins or ends"),
        ("at the end {{1}}", "begins or ends"),
        ("two {{1}} {{2}} there", "side by side"),
        ("only {{2}} here", "placeholders 2, variables fill 1"),
    ],
)
def test_a_body_that_meta_would_refuse_is_found(tmp_path: Path, body: str, message: str) -> None:
    variables = "['number', 'amount']" if "{{1}} {{2}}" in body else "['number']"
    (approved,) = mapped(tmp_path, entry(variables, body=body)).approved
    assert any(message in problem for problem in problems(approved))


def test_the_shipped_example_maps_every_kind_in_both_languages() -> None:
    kinds = {(approved.locale, approved.kind) for approved in Mapped(EXAMPLE)}
    assert kinds == {(language, kind) for language in ("sw", "en") for kind in Kind}


def test_the_shipped_example_is_complete_for_every_bill() -> None:
    own = renderer(whatsapp_templates=EXAMPLE)
    for approved in own.approved:
        for given in variants(approved.kind, WHATSAPP, approved.locale).values():
            filled = rendered(WhatsAppContent, given, own).variables
            assert len(filled) == len(approved.variables)
            assert len(approved.filled(filled)) <= 1024


@pytest.mark.parametrize(
    ("case", "sw", "en"),
    [
        ("usual", "imelipwa yote", "fully paid"),
        ("part", "deni lililobaki TZS 25,000", "TZS 25,000 still to pay"),
        ("over", "umelipa zaidi kwa TZS 5,000", "paid, and TZS 5,000 too much"),
        ("ended", "huhitaji kulipa zaidi", "you need not pay more"),
    ],
)
def test_a_receipt_of_the_shipped_example_says_one_thing_of_the_bill(case: str, sw: str, en: str) -> None:
    own = renderer(whatsapp_templates=EXAMPLE)
    for locale, said in (("sw", sw), ("en", en)):
        content = rendered(WhatsAppContent, variants(Kind.RECEIPT, WHATSAPP, locale)[case], own)
        assert content.variables["6"] == said
        assert "zaidi kwa: 0" not in content.sent_text
        assert "too much: 0" not in content.sent_text


@pytest.mark.parametrize("kind", [Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED])
def test_the_shipped_example_names_what_is_from_before(kind: Kind) -> None:
    own = renderer(whatsapp_templates=EXAMPLE)
    said = {
        (locale, case): rendered(WhatsAppContent, variants(kind, WHATSAPP, locale)[case], own).variables["4"]
        for locale in ("sw", "en") for case in ("usual", "carried", "credited")
    }  # fmt: skip
    assert said["sw", "usual"] == said["en", "usual"] == "TZS 45,000"
    assert said["sw", "carried"] == "TZS 60,000 (na deni la nyuma TZS 15,000)"
    assert said["en", "credited"] == "TZS 40,000 (after TZS 5,000 credit)"


def test_meta_would_take_the_bodies_of_the_shipped_example() -> None:
    told = [problem for approved in Mapped(EXAMPLE) for problem in problems(approved)]
    assert [problem for problem in told if "content_sid" not in problem] == []


def test_the_example_must_be_filled_in_before_it_is_used() -> None:
    own = renderer(whatsapp_templates=EXAMPLE)
    assert any("not that of an approved template" in finding.message for finding in own.check())
