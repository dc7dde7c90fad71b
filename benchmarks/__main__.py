"""`make bench`: every measurement in one run, against the limit and the peers, into docs/benchmarks.md.

`python -m benchmarks [CHAPTER ...] [--bills N] [--rounds N] [--write FOLDER]`. Without chapters all are measured. What
was not measured in a run stays in the report as it was, with its own date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import capacity
from benchmarks.chapters import CHAPTERS, Effort
from benchmarks.report import Report

DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    """Measure, tell as it goes, and write the report."""
    asked = _arguments()
    effort = Effort(bills=asked.bills, rounds=asked.rounds)
    report = Report.read(asked.write)
    for name in asked.chapters or CHAPTERS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures = CHAPTERS[name](effort)
        report.put(name, figures)
        report.write(asked.write)
        capacity.write(asked.write)
        for figure in figures:
            print(f"  {figure.line()}", flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "benchmarks", description="Measure tuma against the limit and its peers."
    )
    parser.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help=f"of: {', '.join(CHAPTERS)}; default: all"
    )
    parser.add_argument("--bills", type=int, default=1_000_000, help="how many wait in the backlog")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often what is compared is measured in turn"
    )
    parser.add_argument(
        "--write", type=Path, default=DOCS, help="folder of benchmarks.md and benchmarks.json"
    )
    asked = parser.parse_args()
    if unknown := set(asked.chapters) - set(CHAPTERS):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(CHAPTERS)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
