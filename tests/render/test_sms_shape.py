"""The quick way to fit an SMS gives the text that trying would give, and tries where it cannot foresee."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render.facts import Facts
from bot.render.samples import variants
from bot.render.segments import septets
from bot.render.sms import Render, fit
from bot.render.sms_shape import Fitter
from bot.render.templates import Renderer
from channels.base import ChannelName
from tests.render.examples import renderer, write
from tests.render.test_sms import NAMES, bills

SMS = ChannelName.SMS


def counted(render: Render, calls: list[Mapping[str, Any]]) -> Render:
    def counting(values: Mapping[str, Any]) -> str:
        calls.append(values)
        return render(values)

    return counting


def both(using: Renderer, bill: Facts) -> tuple[str, str]:
    """A bill's text: tried, and foreseen."""
    bundle = using.library.bundle(bill.template, bill.locale, bill.kind, SMS)
    values = using.values(bill, bundle.set, bundle.locale)
    render, used = partial(using.sandbox.render, bundle.names[0]), using.sandbox.names_used(bundle.names[0])
    return fit(render, values, 160), Fitter(render, used).fit(values, 160)


@settings(max_examples=300)
@given(bills(), NAMES)
def test_what_is_foreseen_is_what_trying_gives(bill: Facts, merchant: str) -> None:
    tried, foreseen = both(renderer(merchant_name=merchant), bill)
    assert foreseen == tried


@settings(max_examples=200)
@given(bills(), NAMES, st.lists(NAMES, min_size=1, max_size=3), st.integers(60, 170))
def test_bills_that_measure_the_same_get_each_its_own_text(
    bill: Facts, merchant: str, others: list[str], room: int
) -> None:
    using = renderer(merchant_name=merchant)
    bundle = using.library.bundle(bill.template, bill.locale, bill.kind, SMS)
    render, used = partial(using.sandbox.render, bundle.names[0]), using.sandbox.names_used(bundle.names[0])
    fitter = Fitter(render, used)
    own = bill.name or "Asha Juma"
    alike = re.sub(r"[a-z]", "x", own)
    joined = re.sub(r"(\S) (\S)", r"\1\2 ", own, count=1)  # as long, but its first word is another
    numbers = {"number": bill.number[::-1], "amount": bill.amount + 1}
    for name in (own, alike, joined, *others):
        for changed in (replace(bill, name=name), replace(bill, name=name, **numbers)):
            values = using.values(changed, bundle.set, bundle.locale)
            assert fitter.fit(values, room) == fit(render, values, room)


def test_what_gives_way_is_decided_once_for_bills_that_measure_the_same() -> None:
    using, calls = renderer(), list[Mapping[str, Any]]()
    name = "default/sw/instructions.sms.txt"
    fitter = Fitter(counted(partial(using.sandbox.render, name), calls), using.sandbox.names_used(name))
    bill = variants(Kind.INSTRUCTIONS, SMS, "sw")["long"]
    tried = []
    for n in range(5):
        calls.clear()
        number = f"5504291487193{n}"
        assert number in fitter.fit(using.values(replace(bill, number=number), "default", "sw"), 160)
        tried.append((len(calls), len(fitter._decided)))
    assert tried[1:] == [(1, 1)] * 4


TEMPLATES = [
    "{{ name|upper }}: {{ amount }} {{ number }} {{ description|upper }} {{ how }} {{ pay_url or '' }}",
    "{% if name == 'Asha Juma' %}You{% else %}{{ name }}{% endif %} {{ amount }} {{ number }} {{ description }}",
    "{{ merchant }} {{ number }} {{ amount }} {{ name|length }} {{ description }} {{ how }}",
    "{% for c in name %}{{ c }}.{% endfor %} {{ number }} {{ amount }} {{ description }}",
    "{{ data }} {{ number }} {{ amount }}",
    "{{ merchant }}{{ name }}{{ number }} {{ amount }}. {{ order }} {{ description }} ,{{ how }}",
    "{% set x = name %}{{ x }} {{ x }} {{ number }} {{ amount }}{% if locale == 'en' %} pay{% endif %} {{ how }}",
]


@settings(max_examples=150)
@given(bills(), NAMES, st.integers(40, 170))
def test_whether_a_bill_fits_is_told_as_fitting_it_would(bill: Facts, merchant: str, room: int) -> None:
    using = renderer(merchant_name=merchant)
    bundle = using.library.bundle(bill.template, bill.locale, bill.kind, SMS)
    values = using.values(bill, bundle.set, bundle.locale)
    render, used = partial(using.sandbox.render, bundle.names[0]), using.sandbox.names_used(bundle.names[0])
    assert Fitter(render, used).fits(values, room) == (septets(fit(render, values, room)) <= room)


def test_a_bill_that_can_be_sent_is_vetted_without_looking_for_its_best_text() -> None:
    using, calls = renderer(), list[Mapping[str, Any]]()
    name = "default/sw/instructions.sms.txt"
    used = using.sandbox.names_used(name)
    using._fitters[name] = Fitter(counted(partial(using.sandbox.render, name), calls), used)
    using.vet(variants(Kind.INSTRUCTIONS, SMS, "sw")["long"])
    assert len(calls) == 1


def test_what_cannot_be_rendered_is_not_passed(tmp_path: Path) -> None:
    bill = variants(Kind.INSTRUCTIONS, SMS, "en")["usual"]
    for template in ("{{ number }} {{ amount }} {{ data.absent }}", "{{ number }} {{ amount }}" + "x" * 160):
        using = renderer(overrides=write(tmp_path, "default/en/instructions.sms.txt", template))
        for ask in (using.vet, using.render):
            with pytest.raises(TemplateError):
                ask(bill)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("case", ["usual", "bare", "long"])
@pytest.mark.parametrize("room", [10, 60, 90, 110, 130, 160])
def test_whether_a_text_fits_is_told_as_fitting_it_would(
    tmp_path: Path, template: str, case: str, room: int
) -> None:
    using = renderer(overrides=write(tmp_path, "default/en/instructions.sms.txt", template))
    bill = variants(Kind.INSTRUCTIONS, SMS, "en")[case]
    bundle = using.library.bundle(bill.template, bill.locale, bill.kind, SMS)
    values = using.values(bill, bundle.set, bundle.locale)
    render, used = partial(using.sandbox.render, bundle.names[0]), using.sandbox.names_used(bundle.names[0])
    assert Fitter(render, used).fits(values, room) == (septets(fit(render, values, room)) <= room)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("case", ["usual", "bare", "long"])
def test_templates_that_change_or_compare_values_are_tried(tmp_path: Path, template: str, case: str) -> None:
    using = renderer(overrides=write(tmp_path, "default/en/instructions.sms.txt", template))
    tried, foreseen = both(using, variants(Kind.INSTRUCTIONS, SMS, "en")[case])
    assert foreseen == tried


def test_a_campaign_renders_each_text_once() -> None:
    using, calls = renderer(), list[Mapping[str, Any]]()
    name = "default/sw/instructions.sms.txt"
    fitter = Fitter(counted(partial(using.sandbox.render, name), calls), using.sandbox.names_used(name))
    bill = variants(Kind.INSTRUCTIONS, SMS, "sw")["usual"]
    values = using.values(bill, "default", "sw")
    fitter.fit(values, 160)
    calls.clear()
    for number in range(100):
        text = fitter.fit(values | {"number": f"55{number:012}"}, 160)
        assert f"55{number:012}" in text
    assert len(calls) == 100
