"""docs/capacity.md: what so many messages a day need, computed from the life of one bill (benchmarks.life).

`python -m benchmarks.capacity` writes the page's table again from docs/benchmarks.json, `make bench` does it by itself.
"""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.life import MESSAGES, SHORT_DAYS, Life
from benchmarks.report import Report

DAYS = (1_000_000, 100_000_000, 1_000_000_000)
"""Messages a day."""
PEAK = 0.1
"""Part of a day's messages in its busiest hour."""
FULL = 0.6
"""Part of a core, and of a server's memory, that is planned with."""
WAITING_DAYS = 7
"""How long a bill waits for its payment."""
SERVER_GB = 64
CORE_USD, GB_USD = 20.0, 4.0
"""A month of one core and of one GB of memory: an assumption, take your own provider's."""
_SHORT = f"`TUMA_KEEP_DAYS={SHORT_DAYS}`"
_MARK = "\n## The figures\n"


def write(folder: Path) -> None:
    """Renew the table in `folder`/capacity.md, if the report has the life of a bill."""
    page, life = folder / "capacity.md", measured(folder)
    if life is not None and page.exists():
        page.write_text(page.read_text().partition(_MARK)[0] + _MARK + "\n" + table(life))


def measured(folder: Path) -> Life | None:
    """The life of a bill in `folder`/benchmarks.json."""
    chapter = Report.read(folder).chapters.get("life")
    return next((f.life for f in chapter.figures if f.life), None) if chapter else None


def table(life: Life) -> str:
    """The page's table."""
    rows = [("Messages a day", *(f"{day:,}" for day in DAYS))]
    columns = [_column(day, life) for day in DAYS]
    rows += [(name, *(column[name] for column in columns)) for name in columns[0]]
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    inputs = (
        f"One bill, {MESSAGES} messages: {life.api_ms:.2f} ms of an api process, {life.worker_ms:.2f} ms of a worker, "
        f"{life.server_ms:.2f} ms of Redis;\n{life.waiting_bytes:,} bytes while it waits, {life.kept_bytes:,} when all "
        f"is done, {life.byte_days / 1000:,.0f} KB-days until the last of it is gone ("
        f"{life.short_byte_days / 1000:,.0f}\nwith {_SHORT}); {life.written_bytes:,} bytes of append-only file.\n"
    )
    return "\n".join([inputs, head, "|---|" + "---|" * len(DAYS), *body, ""])


def _column(day: int, life: Life) -> dict[str, str]:
    bills = day / MESSAGES
    peak_bills = bills * PEAK / 3600

    def cores(ms: float) -> int:
        return max(math.ceil(peak_bills * ms / 1000 / FULL), 1)

    waiting = bills * WAITING_DAYS * life.waiting_bytes
    api, workers = cores(life.api_ms), cores(life.worker_ms)

    def servers(kept: float) -> tuple[int, float, float]:
        memory_gb = (waiting + kept) / 1e9 / FULL
        primaries = max(cores(life.server_ms), math.ceil(memory_gb / SERVER_GB))
        usd = (api + workers + 2 * primaries) * CORE_USD + 2 * memory_gb * GB_USD
        return primaries, usd, 2 * memory_gb * GB_USD

    kept, short = bills * life.byte_days, bills * life.short_byte_days
    primaries, usd, of_memory = servers(kept)
    few, less, of_less = servers(short)
    return {
        "Messages a second in the busiest hour": f"{peak_bills * MESSAGES:,.0f}",
        "api processes, a core each": f"{api:,}",
        "workers, a core each": f"{workers:,}",
        "Redis: memory of what waits": _bytes(waiting),
        "Redis: memory of what is kept": _bytes(kept),
        f"Redis primaries, a core and at most {SERVER_GB} GB each, and as many replicas": f"{primaries:,}",
        "of them for CPU alone": f"{cores(life.server_ms):,}",
        "append-only file, written a day": _bytes(bills * life.written_bytes),
        "Cost a month, of which for memory": f"{_usd(usd)}, {_usd(of_memory)}",
        "Cost of 1,000 messages": f"{usd / 30 / day * 1000:.4f} USD",
        f"With {_SHORT}: memory of what is kept": _bytes(short),
        f"With {_SHORT}: Redis primaries": f"{few:,}",
        f"With {_SHORT}: cost a month, of which for memory": f"{_usd(less)}, {_usd(of_less)}",
        f"With {_SHORT}: cost of 1,000 messages": f"{less / 30 / day * 1000:.4f} USD",
    }


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"


def _usd(amount: float) -> str:
    return f"{amount:,.0f} USD"


if __name__ == "__main__":
    write(Path(__file__).parents[1] / "docs")
