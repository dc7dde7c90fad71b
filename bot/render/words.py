"""Short texts of one language that stand beside the messages: button labels, and how failures are told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from bot.errors import TemplateError

FILE = "words.toml"


@dataclass(frozen=True, slots=True)
class Words:
    """The content of one `words.toml`. `reasons`: part of a provider's text in lower case -> how it is told."""

    copy_number: str
    open_bill: str
    reasons: Mapping[str, str]


def read(name: str, text: str) -> Words:
    """Read the text of the file `name`. Raises TemplateError naming what is missing or not a text."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"{name}: not valid TOML: {error}") from error
    for key in ("copy_number", "open_bill"):
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise TemplateError(f"{name}: {key} is missing")
    reasons = content.get("reasons", {})
    if not isinstance(reasons, dict):
        raise TemplateError(f"{name}: reasons is not a table")
    told = {part.lower(): str(wording) for part, wording in reasons.items()}
    return Words(content["copy_number"], content["open_bill"], told)
