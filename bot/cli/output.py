"""How commands speak: tables for people, JSON for programs, errors as one clear line each, never a traceback.

JSON goes to stdout: one object, or one object per line. Notes and errors for people go to stderr. With
`--json`, a failed command also prints one object with `ok` false, `error` and `problems` on stdout.

Exit codes: 0 ok, 1 failed, 2 usage (a wrong argument or setting).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from bot.errors import ConfigError, NotFound, Refused, TumaError

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
USAGE = 2
_JSON = "tuma.json"
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)
# What a terminal would obey instead of show: C0, DEL and C1, but not the line break.
_CONTROL = {code: "·" for code in (*range(10), *range(11, 32), *range(127, 160))}


def _remember(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_JSON] = value
    return value


JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON for programs instead of tables.", callback=_remember, is_eager=True
    ),
]


class Failed(TumaError):
    """What was asked could not be done; the text says why, and what to do."""


class Misused(Refused):
    """Arguments that cannot be meant; found before anything was asked of Redis or a provider."""


def beside_file(names: Sequence[str]) -> typer.BadParameter:
    """The error for options of one bill that are given together with a file; `names` of the cells that they fill."""
    options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    columns = ", ".join("any of your own" if name == "data" else name for name in names)
    text = f"a file says this in its rows; leave out {options} and use its columns: {columns}"
    return typer.BadParameter(text, param_hint="FILE|-")


class Commands(TyperGroup):
    """The root of the command line: turns tuma's own errors into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        wants_json = "--json" in (
            *ctx._protected_args,
            *ctx.args,
        )  # an error may come before the flag is read
        try:
            return super().invoke(ctx)
        except TyperException as error:
            # "Value error, " is how the parser introduces its own text.
            error.message = error.message.replace("Value error, ", "")
            if wants_json:
                emit({"ok": False, "error": error.format_message(), "problems": []})
            raise
        except TumaError as error:
            report(error, as_json=bool(ctx.meta.get(_JSON)))
            raise typer.Exit(USAGE if isinstance(error, ConfigError | Misused) else FAILED) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands under the headings that they were registered with."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = str(getattr(command, "rich_help_panel", None) or "Commands")
            headings.setdefault(heading, []).append((name, command.get_short_help_str(formatter.width)))
        for heading, lines in headings.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


def report(error: TumaError, *, as_json: bool) -> None:
    """Tell what went wrong: every problem on its own line, and as one JSON object if `as_json`."""
    problems = error.problems if isinstance(error, Refused | NotFound) else ()
    for line in [str(problem) for problem in problems] or [str(error)]:
        note(f"Error: {line}")
    if as_json:
        emit({"ok": False, "error": str(error), "problems": problems})


def emit(value: object, *, now: bool = False) -> None:
    """Write one line of JSON to stdout; `now`: someone may be waiting for it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    if now:
        sys.stdout.flush()


def emit_all(values: Iterable[object]) -> None:
    """Write one line of JSON per value."""
    for value in values:
        emit(value)


def printable(text: str) -> str:
    """`text` without what a terminal would take as a command: names and messages come from outside."""
    return text.translate(_CONTROL)


def say(text: str) -> None:
    """One line for a person, on stdout."""
    sys.stdout.write(printable(text) + "\n")


def note(text: str) -> None:
    """One line beside the result, on stderr."""
    sys.stderr.write(printable(text) + "\n")


def _console() -> Console:
    from rich.console import Console

    # Without a terminal there is no width to keep to.
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 400)


def show_times_in(zone: tzinfo) -> None:
    """Tables show times in `zone` from now on, which is the merchant's and not the machine's."""
    _zone.set(zone)


def shown(value: object) -> str:
    """A value as a person reads it: times on the merchant's clock, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(_zone.get()).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple, set)):
        return ", ".join(map(shown, value))
    return printable(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table with one line of headings, or say that there is nothing."""
    from rich import box
    from rich.table import Table

    grid = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*map(shown, row))
    if grid.row_count:
        _console().print(grid)
    else:
        say(f"{title}: none" if title else "None.")


def facts(pairs: Mapping[str, object]) -> None:
    """Print names and values below each other, without the empty ones."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        if text := shown(value):
            say(f"{name:<{width}}  {text}")
