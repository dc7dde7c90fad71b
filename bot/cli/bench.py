"""`tuma bench`: the measurements of a checkout, on this machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.output import Failed, JsonFlag, say

_CHECKOUT = Path(__file__).parents[2]


def bench_command(
    chapters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHAPTER ...",
            help="What to measure: sending, intake, mail, backlog, life, rest, pages, limits. Default: all.",
            show_default=False,
        ),
    ] = None,
    bills: Annotated[int, typer.Option(min=1, help="How many bills wait in the backlog.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often what is compared is measured in turn.")] = 3,
    write: Annotated[
        Path | None, typer.Option(help="Keep the report in this folder. Default: only show the figures.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure tuma on this machine against the limit and other task queues.

    Runs from a checkout of tuma, needs nginx, and takes about half an hour for everything. Sends nothing to anybody.
    """
    if not (_CHECKOUT / "benchmarks" / "__main__.py").exists():
        raise Failed(
            "the benchmarks are not part of the installed package: run `make bench` in a checkout of tuma"
        )
    with tempfile.TemporaryDirectory(prefix="tuma-bench-") as made:
        folder = write or Path(made)
        options = ["--bills", str(bills), "--rounds", str(rounds), "--write", str(folder.absolute())]
        ran = subprocess.run(  # noqa: S603 - our own module, with words that it checks itself
            [sys.executable, "-m", "benchmarks", *(chapters or ()), *options],
            cwd=_CHECKOUT,
            stdout=subprocess.DEVNULL if as_json else None,
            check=False,
        )
        if ran.returncode:
            raise typer.Exit(ran.returncode)
        if as_json:
            say((folder / "benchmarks.json").read_text().rstrip())
