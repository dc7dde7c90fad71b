"""`make chaos`, or `python -m tests.chaos`: one run, judged. Exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.chaos import report
from tests.chaos.lives import lives
from tests.chaos.plan import CLUSTER, FULL, QUICK, SENTINEL, plan
from tests.chaos.run import Outcome, run

PROOFS = Path(__file__).parents[2] / "docs" / "proofs"


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and write the proof where one is wanted. 0 if every promise was kept."""
    asked = _parser().parse_args(arguments)
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    scale = {"single": QUICK if asked.quick else FULL, "sentinel": SENTINEL, "cluster": CLUSTER}[asked.store]
    scale = replace(scale, shares=asked.shares or scale.shares, guarded=not asked.unguarded)
    folder = Path(tempfile.mkdtemp(prefix="tuma-chaos-")) if asked.keep is None else asked.keep
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {seed}; everything is kept in {folder} if a promise is broken")
    outcome = asyncio.run(run(plan(seed, scale), folder, say))
    proof = report.proof(outcome, _command(asked, seed))
    _show(outcome, proof, folder)
    where = asked.write or (None if asked.quick or asked.shares or asked.unguarded else PROOFS)
    if where is not None:
        report.write(proof, where)
        say(f"written: {where}")
    if outcome.clean and asked.keep is None:
        shutil.rmtree(folder)
    return 0 if outcome.clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; writes nothing unless told")
    parser.add_argument(
        "--store",
        choices=("single", "sentinel", "cluster"),
        default="single",
        help="two minutes on a pair under a Sentinel, or on a cluster with replicas, with failovers",
    )
    parser.add_argument(
        "--unguarded",
        action="store_true",
        help="without min-replicas-to-write on the servers: counts what then dies with a primary; writes nothing",
    )
    parser.add_argument("--seed", type=int, help="what the plan follows from (default: a new one)")
    parser.add_argument("--shares", type=int, help="how many bills (default: what the run is made for)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="where the proof goes")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs, records and the server's data")
    return parser


def _command(asked: argparse.Namespace, seed: int) -> str:
    store = "" if asked.store == "single" else f"--store {asked.store} "
    guard = "--unguarded " if asked.unguarded else ""
    return f'make chaos ARGS="{store}{"--quick " if asked.quick else ""}{guard}--seed {seed}"'


def _show(outcome: Outcome, proof: report.Proof, folder: Path) -> None:
    facts = msgspec.to_builtins(proof)
    for name, value in facts.items():
        if name not in ("offences", "machine", "settings", "command"):
            say(f"{name:42} {value}")
    for line in lives(outcome, folder / "logs"):
        say(line)
    if not outcome.clean:
        say(f"\na promise was broken; again with: {proof.command} (logs and data: {folder})")


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
