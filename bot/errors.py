"""tuma's own errors, and the problem list that every refused input is told with.

TumaError
+-- ConfigError         a setting is missing or wrong; the program cannot start
+-- StoreUnavailable    Redis is away, loading or read-only; try again
|   +-- StoreFull       Redis has no memory left for what is new
|   +-- NotReplicated   the primary has it, no replica said so in time
+-- Refused             input that cannot be taken; carries problems, HTTP 400 or 422
|   +-- Conflict        the same id or term with other content, HTTP 409
+-- ProviderAway        ClickPesa cannot be asked now; nothing was changed, HTTP 503
+-- NotFound            no such share, bill, message, HTTP 404
+-- TemplateError       a template is wrong, or lacks a variable
"""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong with input: where (JSON path or column), what was given (masked), what would be right."""

    field: str
    message: str
    given: str | None = None
    expected: str | None = None

    def __str__(self) -> str:
        text = f"{self.field}: {self.message}"
        if self.given is not None:
            text += f" (given {self.given})"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        return text


class TumaError(Exception):
    """Root of everything tuma raises on purpose."""


class ConfigError(TumaError):
    """A setting is missing or wrong. The text names the variable and what would be right, never its value."""


class StoreUnavailable(TumaError):
    """Redis cannot take the write now. Nothing was accepted; the caller may repeat."""


class StoreFull(StoreUnavailable):
    """Redis is at its `maxmemory`. Payments, stops and what was accepted go on; new shares wait."""


class NotReplicated(StoreUnavailable):
    """The primary took it, but too few replicas said in time that they have it. Repeating it is safe."""


class Refused(TumaError):
    """Input that cannot be taken. `problems` is never empty."""

    status = 422

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Conflict(Refused):
    """The same id with other content, or an amount that contradicts the bill on record."""

    status = 409


class ProviderAway(TumaError):
    """A provider cannot be asked now, and nothing was changed. The text is what it said."""


class NotFound(TumaError):
    """No such share, bill, message or contact; `problems` say which field named it and what would be right."""

    def __init__(self, text: str | Problem) -> None:
        super().__init__(str(text))
        self.problems = (text,) if isinstance(text, Problem) else ()


def no_bill(number: str) -> NotFound:
    """A control number that is not on record."""
    expected = "one that was shared, or made by tuma; check its digits"
    return NotFound(
        Problem(field="number", message="no bill with this number", given=number[:60], expected=expected)
    )


class TemplateError(TumaError):
    """A template cannot be loaded or rendered. The text names file, line and variable, never a customer's data."""
