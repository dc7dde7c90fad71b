"""docs/capacity.md says what the last measurement gives, and its links from the manifests lead to it."""

from __future__ import annotations

from pathlib import Path

from benchmarks import capacity
from benchmarks.life import Life

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_last_measurement_gives() -> None:
    life = capacity.measured(DOCS)
    assert life is not None
    assert (DOCS / "capacity.md").read_text().endswith(f"\n## The figures\n\n{capacity.table(life)}")


def test_memory_and_not_cpu_sets_the_servers_where_much_is_kept() -> None:
    life = Life(
        bills=1, seconds=1, api_ms=3.6, worker_ms=1.8, server_ms=1.8, waiting_bytes=2000, kept_bytes=5000,
        byte_days=1_000_000, short_byte_days=200_000, written_bytes=10_000,
    )  # fmt: skip
    rows = {
        name.strip(): [cell.strip() for cell in cells]
        for name, *cells in (
            line.strip("| ").split("|") for line in capacity.table(life).splitlines() if "|" in line
        )
    }
    # 500,000 bills a day; a tenth of them in one hour is 13.9 a second, and 1.8 ms each at 60 %.
    assert rows["of them for CPU alone"][0] == "1"
    assert rows["workers, a core each"] == ["1", "5", "42"]
    assert rows["Redis: memory of what is kept"][0] == "500.0 GB"
    assert rows["Redis: memory of what waits"][0] == "7.0 GB"
    primaries = "Redis primaries, a core and at most 64 GB each, and as many replicas"
    assert rows[primaries] == ["14", "1,321", "13,204"]
    # 107 GB at 60 % are 178.
    assert rows["With `TUMA_KEEP_DAYS=40`: memory of what is kept"][0] == "100.0 GB"
    assert rows["With `TUMA_KEEP_DAYS=40`: Redis primaries"][0] == "3"
