"""docs/benchmarks.md and .json: what was measured, on what, beside what it was to be."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.life import Life
from bot.engine.embedded import find_server

_PACKAGES = ("tuma", "aiohttp", "redis", "hiredis", "uvloop", "twilio", "aiosmtplib", "msgspec", "minijinja")
_INTRODUCTION = """# Benchmarks

Written by `make bench`. Every ratio is of one run: the limit and tuma, or a peer, measured in turn on the same machine,
so that what else the machine does meets both. Rates of different machines cannot be compared; ratios nearly can. Redis
runs with fsync `always`, and the full product path is on: fence, lease, consent, template, StatusCallback, record.

The limit of sending, 1.00, is a bare asyncio loop with aiohttp that posts the same form to the same sink (nginx) at the
same concurrency, without any queue.
"""


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report: `value` with its unit and spread; `met` is None where nothing was to be reached.

    `life` is what docs/capacity.md computes from.
    """

    what: str
    value: str
    target: str = ""
    met: bool | None = None
    life: Life | None = None

    def line(self) -> str:
        """For the terminal."""
        judged = {True: "met", False: "missed", None: ""}[self.met]
        return f"{self.what}: {self.value}{f' (target {self.target}: {judged})' if self.target else ''}"


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found, when and where."""

    date: str
    machine: str
    versions: str
    figures: list[Figure]


class Report(msgspec.Struct):
    """All chapters by name."""

    chapters: dict[str, Chapter] = {}

    @classmethod
    def read(cls, folder: Path) -> Report:
        """The report that is there, or an empty one."""
        path = folder / "benchmarks.json"
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else cls()

    def put(self, name: str, figures: list[Figure]) -> None:
        """Replace a chapter."""
        today = datetime.now(UTC).date().isoformat()
        self.chapters[name] = Chapter(date=today, machine=_machine(), versions=_versions(), figures=figures)

    def write(self, folder: Path) -> None:
        """Both files; the notes below the figures are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "benchmarks.md"
        notes = page.read_text().partition("\n## Notes\n")[2] if page.exists() else ""
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        (folder / "benchmarks.json").write_bytes(encoded + b"\n")
        parts = [_INTRODUCTION, *(_section(name, each) for name, each in self.chapters.items())]
        if notes:
            parts.append(f"## Notes\n{notes.rstrip()}\n")
        page.write_text("\n".join(parts))


def _section(name: str, chapter: Chapter) -> str:
    rows = [f"| {f.what} | {f.value} | {f.target} | {_word(f.met)} |" for f in chapter.figures]
    head = ["| | Measured | Target | |", "|---|---|---|---|"]
    about = f"{chapter.date}; {chapter.machine}; {chapter.versions}."
    return "\n".join([f"## {name.capitalize()}", "", about, "", *head, *rows, ""])


def _word(met: bool | None) -> str:
    return {True: "met", False: "**missed**", None: ""}[met]


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    else:
        model = platform.machine()
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores of {model}, load {load:.1f}, Python {platform.python_version()}"


def _versions() -> str:
    server = subprocess.run(
        [str(find_server()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    words: dict[str, Any] = dict(word.split("=", 1) for word in server.split() if "=" in word)
    return f"Valkey {words.get('v', '')}, " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
