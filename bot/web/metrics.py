"""What Prometheus reads: the ledger's figures, and what this process has served since it started.

Labels hold route templates, channels and outcomes; never a contact, a number, a token or a key. The ledger and the
limits are read at the scrape, so their figures are the same from every process; the counters are each process's own.

Source: Prometheus exposition format and naming advice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from bot.engine.ledger import Stats
    from bot.engine.limits import Limit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN: Mapping[str, str] = {
    "created": "Messages ever created.",
    "scheduled": "Messages that wait for their time, retries among them.",
    "queued": "Messages that wait for a worker.",
    "handed_out": "Messages that a worker holds.",
    "in_doubt": "Messages that may have been sent.",
    "asking": "Of those in doubt, the ones to be asked about now.",
    "possible_duplicates": "Messages ever sent again after a doubt.",
    "inbox": "Share jobs not yet acknowledged.",
    "dead": "Messages that cannot be sent until staff act.",
    "unmatched": "Payments that staff must place.",
    "open_bills": "Control numbers on which something is owed.",
    "creating": "Control numbers that ClickPesa is to make.",
    "clickpesa_to_tell": "Control numbers of which ClickPesa does not know the newest state.",
}


class Metrics:
    """The counters of one process, and the figures of the last ledger reading."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own
        self._ledger, self._limits = _Ledger(), _Limits()
        own.register(self._ledger)
        own.register(self._limits)
        by_route = ["method", "route", "status"]
        self.requests = Counter("tuma_http_requests", "HTTP requests answered.", by_route, registry=own)
        self.seconds = Histogram("tuma_http_request_seconds", "Time to answer.", ["route"], registry=own)
        self.webhooks = Counter("tuma_webhooks", "Webhooks by outcome.", ["sender", "outcome"], registry=own)
        self.rows = Counter("tuma_bulk_rows", "Rows of bulk requests.", ["outcome"], registry=own)

    def exposition(self, stats: Stats, limits: Mapping[str, Limit]) -> bytes:
        """Everything, in the text format."""
        self._ledger.stats, self._limits.found = stats, limits
        return generate_latest(self._registry)


class _Ledger(Collector):
    stats: Stats | None = None

    def collect(self) -> Iterator[Metric]:
        stats = self.stats
        if stats is None:
            return
        for name, meaning in _PLAIN.items():
            yield GaugeMetricFamily(f"tuma_{name}", meaning, value=getattr(stats, name))
        done = GaugeMetricFamily("tuma_done", "Messages done, by outcome.", labels=["outcome"])
        for outcome, count in stats.done.items():
            done.add_metric([outcome], count)
        yield done
        doubts = GaugeMetricFamily("tuma_doubts", "How doubts ended so far.", labels=["how"])
        for how, count in stats.doubts.items():
            doubts.add_metric([how], count)
        yield doubts
        waiting = GaugeMetricFamily("tuma_waiting", "Messages in streams.", labels=["channel", "lane"])
        for queue, count in stats.waiting.items():
            channel, _, lane = queue.partition(".")
            waiting.add_metric([channel, lane], count)
        yield waiting


class _Limits(Collector):
    found: Mapping[str, Limit] | None = None

    def collect(self) -> Iterator[Metric]:
        label = ["channel"]
        rate = GaugeMetricFamily(
            "tuma_limit_rate", "Segments or messages a second that a sender may send.", labels=label
        )
        tokens = GaugeMetricFamily("tuma_limit_tokens", "How many it may send at once now.", labels=label)
        used = CounterMetricFamily(
            "tuma_limit_used", "Segments or messages sent under its rate.", labels=label
        )
        waits = CounterMetricFamily(
            "tuma_limit_waits", "Times a worker had to wait for its rate.", labels=label
        )
        for channel, limit in (self.found or {}).items():
            rate.add_metric([channel], limit.rate)
            tokens.add_metric([channel], limit.tokens)
            used.add_metric([channel], limit.used)
            waits.add_metric([channel], limit.waits)
        yield from (rate, tokens, used, waits)
