"""When the machine itself stood nearly still: its CPUs may belong to somebody else for some tens of milliseconds.

Nothing that runs then is fast, and no counter of the system need show it: the time is charged to whoever ran. A process
of its own does the same small piece of work over and over and looks how much CPU time it took.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.places import running

_EVERY_S = 0.002
_SLOWER = 5
# Pieces of one standstill are not further apart; what waited in it is served within so long after it.
_APART_S, _AFTER_S = 0.08, 0.1


class Stalls:
    """What was seen between two moments of `time.perf_counter`."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._pieces: list[tuple[float, float]] = []

    def read(self, path: Path) -> None:
        """Take what the process wrote: per piece of work when it began, and its CPU time in microseconds."""
        lines = [line.split() for line in path.read_text().splitlines()]
        self._pieces = [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]
        usual = statistics.median(took for _, took in self._pieces)
        for begun, took in self._pieces:
            if took < _SLOWER * usual:
                continue
            if self.spans and begun - self.spans[-1][1] < _APART_S:
                self.spans[-1] = (self.spans[-1][0], begun + took / 1e6)
            else:
                self.spans.append((begun, begun + took / 1e6))

    @property
    def share(self) -> float:
        """Part of the time in which the machine ran at less than a fifth of its usual speed."""
        whole = self._pieces[-1][0] - self._pieces[0][0]
        return sum(end - begin for begin, end in self.spans) / whole

    def clear(self, dues: Sequence[float], latencies_ms: Sequence[float]) -> list[float]:
        """The latencies of requests that neither met one nor came right behind it."""
        return [
            took
            for due, took in zip(dues, latencies_ms, strict=True)
            if not any(begin <= due + took / 1000 and due <= end + _AFTER_S for begin, end in self.spans)
        ]


@contextmanager
def watched() -> Iterator[Stalls]:
    """Watch the machine meanwhile; what was seen is there at the end."""
    found = Stalls()
    with tempfile.NamedTemporaryFile(prefix="tuma-bench-") as file:
        with running("-m", "benchmarks.stalls", file.name):
            while not Path(file.name).stat().st_size:
                time.sleep(0.05)  # its own start is not part of what is watched
            yield found
            time.sleep(0.1)
        found.read(Path(file.name))


def _watch(path: Path) -> None:
    with path.open("w", buffering=1) as file:
        while True:
            begun, before = time.perf_counter(), time.thread_time()
            for _ in range(1000):
                pass
            file.write(f"{begun:.6f} {(time.thread_time() - before) * 1e6:.0f}\n")
            time.sleep(_EVERY_S)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
