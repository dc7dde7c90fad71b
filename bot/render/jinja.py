"""The sandbox that templates run in: minijinja with fuel, strict about names, escaping HTML once.

Only strings, lists and dicts go in. A template cannot loop for ever or blow up a string, reach Python, or
read a file that is not in the library. Errors name the file and line, never a customer's data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import minijinja

from bot.errors import TemplateError

# About a hundred times what the longest shipped template burns.
FUEL = 200_000

Source = Callable[[str], str | None]


class Sandbox:
    """Renders templates by name; `source` gives their text."""

    def __init__(self, source: Source) -> None:
        self._environment = minijinja.Environment(
            loader=lambda name: _standalone(source(name)),
            undefined_behavior="strict",
            fuel=FUEL,
            keep_trailing_newline=True,
            auto_escape_callback=_is_html,
        )

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The text of one template. Raises TemplateError naming file, line and what is wrong."""
        try:
            text = self._environment.render_template(name, **values)
        except minijinja.TemplateError as error:
            raise TemplateError(_told(error, name)) from None
        # The engine's escaping turns "/" into an entity too, which makes links unreadable in plain sources. This cannot
        # be what a value said: its "&" is escaped as well.
        return text.replace("&#x2f;", "/") if _is_html(name) else text

    def names_used(self, name: str) -> set[str]:
        """The variables a template uses, `data.student` in full. Raises TemplateError for a syntax error."""
        try:
            return self._environment.undeclared_variables_in_template(name, nested=True)
        except minijinja.TemplateError as error:
            raise TemplateError(_told(error, name)) from None


def _is_html(name: str) -> bool:
    return name.endswith(".html")


# A line that holds nothing but tags is not a line of the message.
_TAGS_ALONE = re.compile(
    r"^[ \t]*((?:\{%(?:(?!%\}).)*%\}[ \t]*|\{#(?:(?!#\}).)*#\}[ \t]*)*)"
    r"(\{[%#])((?:(?![-+]?[%#]\}).)*)([-+]?[%#]\})[ \t]*\n",
    re.MULTILINE | re.DOTALL,
)


def _standalone(source: str | None) -> str | None:
    # The line break moves into the tag instead of vanishing, so that line numbers in errors stay right.
    return None if source is None else _TAGS_ALONE.sub(r"\1\2\3\n\4", source)


def _told(error: minijinja.TemplateError, name: str) -> str:
    # Never str(error): it quotes the values of the variables around the place.
    line = f":{error.line}" if error.line else ""
    reason = re.sub(r"^undefined value: ", "", error.detail or error.message)
    return f"{error.name or name}{line}: {reason.partition(chr(10))[0]}"
