"""Writes `docs/settings.md` and `.env.example` from `bot/settings.py`: run `python docs/settings.py`.

A test compares both files with what this prints, so neither can fall behind.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bot.settings
from bot.settings import Settings

REPO = Path(__file__).parents[1]
# What depends on the machine is described instead of computed.
COMPUTED = {"TUMA_DATA_DIR": "`tuma` in `$XDG_DATA_HOME`, or in `~/.local/share`"}

PAGE = """# Settings

Written by `docs/settings.py` from `bot/settings.py`; do not edit.

Settings are environment variables, or lines of a file `.env` in the folder where `tuma` is started; the
environment wins. An empty value counts as unset. A channel whose settings are missing is off: tuma says so when it
starts, and `tuma doctor` says what is missing and where to get it. *Secret* values are never logged or shown.
"""

EXAMPLE = """# Settings of tuma. Copy to .env and fill in what you use; every line may stay empty.
# Written by docs/settings.py; docs/settings.md is the same list as a page.
# Put a value that holds a dollar sign or a space in single quotes.
# In containers the folder config beside docker-compose.yml is /config: WHATSAPP_TEMPLATES=/config/whatsapp.toml.
"""


def sections() -> Iterator[tuple[str, list[dataclasses.Field[Any]]]]:
    """The headings in the source of Settings, each with its settings."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    heading = ""
    found: list[dataclasses.Field[Any]] = []
    for line in inspect.getsource(bot.settings.Settings).splitlines():
        if match := re.fullmatch(r"    # (.+)", line):
            if found:
                yield heading, found
            heading, found = match[1], []
        elif match := re.match(r"    (\w+): .*= _setting\(", line):
            found.append(fields[match[1]])
    yield heading, found


def default(field: dataclasses.Field[Any]) -> str:
    """The default as one would write it in `.env`; empty when there is none."""
    value = field.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, item)) if isinstance(item, tuple) else item for item in value)
    return "" if value is None or value is dataclasses.MISSING else str(value)


def page() -> str:
    """The whole of `docs/settings.md`."""
    parts = [PAGE]
    for heading, fields in sections():
        rows = [f"| `{f.metadata['env']}` | {shown(f)} | {f.metadata['doc']} |" for f in fields]
        parts.append(
            "\n".join([f"\n## {heading}\n", "| Setting | Default | Meaning |", "|---|---|---|", *rows, ""])
        )
    return "".join(parts)


def shown(field: dataclasses.Field[Any]) -> str:
    """The default as a table cell."""
    text = f"`{default(field)}`" if default(field) else COMPUTED.get(field.metadata["env"], "unset")
    return f"{text}, *secret*" if field.metadata["secret"] else text


def example() -> str:
    """The whole of `.env.example`."""
    parts = [EXAMPLE]
    for heading, fields in sections():
        parts.append(f"\n# ---- {heading}\n")
        parts += [f"\n{comment(f)}\n{line(f)}\n" for f in fields]
    return "".join(parts)


def comment(field: dataclasses.Field[Any]) -> str:
    """The explanation of a setting as comment lines."""
    plain = field.metadata["doc"].replace("`", "")
    return textwrap.fill(plain, 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def line(field: dataclasses.Field[Any]) -> str:
    """A setting ready to be filled in; one with a default is a comment."""
    return f"#{field.metadata['env']}={default(field)}" if default(field) else f"{field.metadata['env']}="


if __name__ == "__main__":
    (REPO / "docs" / "settings.md").write_text(page())
    (REPO / ".env.example").write_text(example())
