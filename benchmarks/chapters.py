"""The chapters of the report: each runs one measurement and judges it by the target of the same line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import backlog, drain, lanes, life, limits, mail, pages, peers, rows, serving, start
from benchmarks.places import sink
from benchmarks.report import Figure

_MESSAGES, _PEER_MESSAGES, _REQUESTS = 8_000, 4_000, 8_000


@dataclass(frozen=True)
class Effort:
    """How much is measured: bills in the backlog, and how often what is compared is measured in turn."""

    bills: int
    rounds: int


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, with the least and the most of the rounds."""
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _at_least(what: str, values: Sequence[float], target: float, unit: str = "") -> Figure:
    met = statistics.median(values) >= target
    return Figure(what=what, value=f"{_spread(values)}{unit}", target=f">= {target:,}{unit}", met=met)


def _at_most(what: str, values: Sequence[float], target: float, unit: str = "") -> Figure:
    met = statistics.median(values) <= target
    return Figure(what=what, value=f"{_spread(values)}{unit}", target=f"<= {target:,}{unit}", met=met)


def sending(effort: Effort) -> list[Figure]:
    """One and two workers, and the peers, against the limit."""
    limit, one, two, soft = [], [], [], []
    others: dict[str, list[peers.PeerDrained]] = {name: [] for name in peers.PEERS}
    with sink() as base:
        for _ in range(effort.rounds):
            limit.append(drain.bare(base, _MESSAGES))
            one.append(drain.drain(base, _MESSAGES))
            two.append(drain.drain(base, _MESSAGES, workers=2))
            soft.append(drain.drain(base, _MESSAGES, fsync="everysec"))
            for name, found in others.items():
                found.append(peers.drain(name, base, _PEER_MESSAGES))

    def part(found: Iterable[drain.Drained | peers.PeerDrained], what: str) -> list[float]:
        return [getattr(f, what) / getattr(b, what) for f, b in zip(found, limit, strict=True)]

    figures = [
        Figure(
            what="the limit",
            value=f"{_spread([b.rate for b in limit], 0)}/s, {_spread([b.cpu_ms for b in limit], 3)} ms CPU",
        ),
        _at_least("one worker / limit", part(one, "rate"), 0.8),
        _at_most("worker CPU a message / limit's", part(one, "cpu_ms"), 1.2),
        Figure(
            what="CPU a message: worker, server",
            value=f"{_spread([d.cpu_ms for d in one], 3)} ms, {_spread([d.server_cpu_ms for d in one], 3)} ms",
        ),
        _at_least("two workers / limit", part(two, "rate"), 1.0),
        Figure(what="one worker / limit, fsync everysec", value=_spread(part(soft, "rate"))),
    ]
    for name, found in others.items():
        figures.append(
            Figure(
                what=f"{peers.version(name)} / limit",
                value=f"{_spread(part(found, 'rate'))}; CPU {_spread(part(found, 'cpu_ms'))}",
            )
        )
    return figures


def intake(effort: Effort) -> list[Figure]:
    """What one api process takes, and rows of a file."""
    with sink() as base:
        shares, paid, told = (kind(_REQUESTS, base) for kind in serving.KINDS)
        bare = serving.bare(_REQUESTS, shares.at)
    taken = rows.measure(50_000)
    return [
        _at_least("POST /v1/shares a second", [shares.rate], 1500),
        _at_most(f"its 99th percentile at {shares.at:.0f}/s", [shares.p99_ms], 15, " ms"),
        Figure(
            what=f"the same beside the {shares.stalled:.1%} of the time in which the machine stood nearly still",
            value=f"{shares.clear_p99_ms:.2f} ms",
        ),
        Figure(
            what=f"a bare server's at that rate; the same beside its {bare.stalled:.1%}",
            value=f"{bare.p99_ms:.2f} ms; {bare.clear_p99_ms:.2f} ms",
        ),
        _at_least("payment webhooks a second, few waiting", [paid.rate], 1500),
        _at_least("status callbacks a second", [told.rate], 2000),
        Figure(
            what="CPU of the api: share, payment, callback",
            value=f"{shares.cpu_ms:.2f} ms, {paid.cpu_ms:.2f} ms, {told.cpu_ms:.2f} ms",
        ),
        _at_least("rows of a file a second, two processes", [taken.rate], 12_000),
    ]


def mailing(effort: Effort) -> list[Figure]:
    """Mail over ten connections."""
    found = mail.measure(3000, effort.rounds)
    return [
        _at_least("mail / bare aiosmtplib, 10 connections", [found.of_bare], 0.9),
        Figure(what="CPU a mail: tuma, bare", value=f"{found.cpu_ms:.2f} ms, {found.bare_cpu_ms:.2f} ms"),
    ]


def waiting(effort: Effort) -> list[Figure]:
    """What a backlog costs."""
    with sink() as base:
        found = backlog.compare(effort.bills, base)
    large, rewrite, minute = found.large, found.rewrite, found.minute
    lateness = f"the last queued {minute.late_s:.1f} s after its time"
    memory = f"scheduler {minute.memory_mb:.0f} MB before, {minute.most_mb:.0f} MB at most"
    figures = [
        _at_most(f"bytes a waiting bill, {large.bills:,} bills", [large.bytes_each], 800),
        _at_least(f"payments a second, {large.bills:,} waiting", [found.served.rate], 1500),
        _at_most(f"their 99th percentile at {found.served.at:.0f}/s", [found.served.p99_ms], 10, " ms"),
        Figure(
            what=f"the same beside the {found.served.stalled:.1%} of the time in which the machine stood nearly still",
            value=f"{found.served.clear_p99_ms:.2f} ms",
        ),
        Figure(
            what="the same while the append-only file is rewritten",
            value=f"{rewrite.p99_ms:.2f} ms, median {rewrite.p50_ms:.2f} ms "
            f"({rewrite.seconds:.0f} s, fork {rewrite.fork_ms:.0f} ms)",
        ),
        Figure(
            what=f"{minute.reminders:,} reminders due in one minute",
            value=f"{minute.early} early, {minute.lost} lost; {lateness}; {memory}",
            target="none early, none lost, memory flat",
            met=not minute.early and not minute.lost and minute.most_mb < 1.1 * minute.memory_mb,
        ),
        Figure(
            what="sent a second by one worker, all of them waiting; a thousand",
            value=f"{minute.sends:,}; {found.small.sends:,.0f}",
        ),
    ]
    for name, ratio in found.ratios.items():
        small, big = getattr(found.small, name), getattr(large, name)
        what = f"cost of a {name}, {large.bills:,} waiting / {found.small.bills:,}"
        detail = f"{small.client:.3f} and {big.client:.3f} ms; {small.server:.3f} and {big.server:.3f} ms"
        met = ratio.client <= 1.05 and ratio.server <= 1.25
        figures.append(
            Figure(
                what=what,
                value=f"client {ratio.client:.2f}, server {ratio.server:.2f} ({detail})",
                target="<= 1.05; <= 1.25",
                met=met,
            )
        )
    return figures


def living(effort: Effort) -> list[Figure]:
    """What one bill costs from its share to the delivery of its receipt."""
    found = life.measure(10_000)
    cpu = f"{found.api_ms:.2f} ms, {found.worker_ms:.2f} ms, {found.server_ms:.2f} ms"
    size = f"{found.waiting_bytes:,} bytes, {found.kept_bytes:,} bytes"
    return [
        Figure(what="CPU of a bill's life, 2 messages: api, worker, server", value=cpu, life=found),
        Figure(what="memory of a bill: while it waits, when all is done", value=size),
    ]


def resting(effort: Effort) -> list[Figure]:
    """Start, idle and memory."""
    found = start.measure(20.0)
    return [
        _at_most("tuma --help", [found.help_s], 0.3, " s"),
        _at_most("SMS worker, from start to its first message", [found.worker_s], 1.5, " s"),
        Figure(
            what="it imports aiogram", value=str(found.aiogram).lower(), target="false", met=not found.aiogram
        ),
        _at_most("idle `tuma up`, part of a core", [found.all_idle], 0.02),
        _at_most("memory of an SMS worker", [found.worker_mb], 90, " MB"),
    ]


def reading(effort: Effort) -> list[Figure]:
    """Customers' pages, with what a bare server of the same bytes does beside them."""
    return [
        Figure(what=f"page {p.page}, {p.wire} bytes", value=f"{p.tuma:,}/s, {p.of_bare:.2f} of a bare server")
        for p in pages.measure(3, 16)
    ]


def pacing(effort: Effort) -> list[Figure]:
    """Rates that all processes keep together, and urgent messages behind a campaign."""
    kept = [limits.keep(90.0, rate, workers) for rate, workers in ((100.0, 4), (400.0, 2))]
    waits = lanes.measure(100_000, 200)
    return [
        *(
            Figure(
                what=f"{k.workers} workers at {k.rate:.0f}/s together: used, most in any 60 s",
                value=f"{k.used:.4f}, {k.most_in_a_minute}",
                target=">= 0.95; <= 1.02",
                met=k.used >= 0.95 and (k.most_in_a_minute or 0) <= 1.02,
            )
            for k in kept
        ),
        _at_most("median extra wait of an urgent SMS behind 100,000", [waits.urgent_extra], 100, " ms"),
        _at_most("the same of a receipt", [waits.receipts_extra], 100, " ms"),
    ]


CHAPTERS: Mapping[str, Callable[[Effort], list[Figure]]] = {
    "sending": sending,
    "intake": intake,
    "mail": mailing,
    "backlog": waiting,
    "life": living,
    "rest": resting,
    "pages": reading,
    "limits": pacing,
}
