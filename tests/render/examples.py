"""Renderers and facts that the tests of rendering share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from bot.domain.message import Kind
from bot.render.facts import Facts, PaymentFacts
from bot.render.samples import sample_facts
from bot.render.templates import Renderer
from channels.base import ChannelName, Content

T = TypeVar("T", bound=Content)


def renderer(**changes: Any) -> Renderer:
    """A school's renderer with the shipped templates."""
    settings: dict[str, Any] = {"merchant_name": "Shule Uhuru", "merchant_contact": "0754 000 111"}
    return Renderer(**(settings | changes))


def facts(kind: Kind, channel: ChannelName, locale: str = "en", **changes: Any) -> Facts:
    """The sample bill with some facts changed."""
    return replace(sample_facts(kind, channel, locale), **changes)


def paid(kind: Kind, channel: ChannelName, locale: str = "en", **changes: Any) -> Facts:
    """The sample bill with some facts of its payment changed."""
    sample = sample_facts(kind, channel, locale)
    assert isinstance(sample.payment, PaymentFacts)
    return replace(sample, payment=replace(sample.payment, **changes))


def rendered(content: type[T], given: Facts, using: Renderer | None = None) -> T:
    """The content of one message, of the type its channel takes."""
    made = (using or renderer()).render(given)
    assert isinstance(made, content)
    return made


def write(folder: Path, name: str, text: str) -> Path:
    """A template file in a merchant's own folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder
