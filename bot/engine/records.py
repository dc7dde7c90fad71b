"""Reading records, wherever they live; nothing here changes an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from bot.domain.bill import MessageView, PaymentView
from bot.engine import keys, views
from bot.engine.scripts import Scripts, pairs
from bot.engine.store import Client, guard
from bot.errors import NotFound, Refused, no_bill

_AUDIT_KEPT = 100_000
_REJECTED_KEPT = 100_000
# The same problems as over HTTP, under the same addresses (bot.web.problems.KINDS; a test compares them).
_KINDS = {
    409: ("conflict", "This contradicts what is on record"),
    422: ("refused", "The input cannot be taken"),
}
_NEWS_KEPT = 2000


class Records:
    """The data set: its client, its scripts and its number of partitions."""

    def __init__(self, client: Client, scripts: Scripts, partitions: int) -> None:
        # The library's answers are typed for every protocol and decoding at once; ours are always texts.
        self.client: Any = client
        self.scripts, self.partitions = scripts, partitions

    def partition(self, text: str) -> int:
        """The partition of a control number or share id."""
        return keys.partition(text, self.partitions)

    async def client_hash(self, key: str) -> dict[str, str]:
        """One hash; empty when there is none."""
        [found] = await self.hashes([key])
        return found

    async def command(self, *words: str) -> Any:
        """A command that may be made twice, in one round trip with what other tasks ask. Raises StoreUnavailable."""
        [reply] = await self.commands([words])
        return reply

    async def commands(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        """Many of them, which may be of different moments. Raises StoreUnavailable."""
        replies = await self.scripts.command(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                with guard():
                    raise reply
        return replies

    async def hashes(self, names: Sequence[str]) -> list[dict[str, str]]:
        """Many hashes in one round trip a server; they may be of different moments. Raises StoreUnavailable."""
        return [_pairs(reply) for reply in await self.commands([("HGETALL", name) for name in names])]

    async def account(self, number: str) -> dict[str, str]:
        """An account's fields. Raises NotFound."""
        found = await self.client_hash(f"{keys.prefix(self.partition(number))}a:{number}")
        if not found:
            raise no_bill(number)
        return found

    async def share(self, p: int, sid: str) -> dict[str, str]:
        """A share's fields. Raises NotFound."""
        [found] = await self.shares([(p, sid)])
        if not found:
            raise NotFound("no such share")
        return found

    async def shares(self, places: Sequence[tuple[int, str]]) -> list[dict[str, str]]:
        """Many shares' fields by partition and inner name, which is one of them; empty where there is none."""
        found = await self.hashes([f"{keys.prefix(p)}s:{sid}" for p, sid in places])
        return [
            {"sid": sid, **fields} if fields else {} for (_, sid), fields in zip(places, found, strict=True)
        ]

    async def shares_of(self, number: str, account: dict[str, str]) -> list[dict[str, str]]:
        """The shares of an account, those that still exist."""
        p = self.partition(number)
        return [s for s in await self.shares([(p, sid) for sid in views.shares_of(account)]) if s]

    async def messages_of(self, p: int, share: dict[str, str]) -> list[MessageView]:
        """The messages of a share, oldest first, those that are retained."""
        ids = [f"{share['sid']}.{n}" for n in range(1, int(share["n"]) + 1)]
        found = await self.hashes([f"{keys.prefix(p)}m:{local}" for local in ids])
        return [views.message(p, local, f, share["id"]) for local, f in zip(ids, found, strict=True) if f]

    async def payments_of(self, number: str) -> list[PaymentView]:
        """The payments told about a number, oldest first."""
        p = keys.prefix(self.partition(number))
        with guard():
            ids = await self.client.zrange(f"{p}pn:{number}", 0, -1)
        return [views.payment(f) for f in await self.hashes([f"{p}p:{pid}" for pid in ids]) if f]

    async def overdue_claims(self, p: int, before_ms: int, limit: int) -> list[tuple[str, str]]:
        """Names of claims that have been open since before a time, with their jobs as JSON."""
        found: list[tuple[str, str]] = []
        with guard():
            async for name, value in self.client.hscan_iter(f"{keys.prefix(p)}open", count=100):
                since, _, job = value.partition(" ")
                if int(since) <= before_ms:
                    found.append((name, job))
                if len(found) == limit:
                    break
        return found

    async def claim(self, name: str) -> dict[str, str]:
        """What a claimed id stands for: `sid` and `num`, and `st`, which is done once a number is there; or nothing."""
        p = self.partition(name)
        # In this order: a claim that is gone by then has become an id.
        claim, known = await self.commands(
            [("HGETALL", keys.claim(p, name)), ("HGET", keys.ids(p, name), name)]
        )
        if known is None:
            return _pairs(claim)
        _, _, _, sid, number, *kind = known.split(" ")
        return {"sid": sid, "num": number, "st": "done", "kind": "".join(kind)}

    async def open_job(self, p: int, name: str) -> str | None:
        """The job of a claim that is open, as JSON."""
        with guard():
            found = await self.client.hget(f"{keys.prefix(p)}open", name)
        return found.partition(" ")[2] if found else None

    async def reject(self, job: str, error: Refused, entry: str = "") -> None:
        """Put a job that cannot be taken on the rejected stream, with the problems as HTTP would tell them."""
        kind, title = _KINDS[error.status]
        problem = {"type": f"/docs#{kind}", "title": title, "status": error.status, "errors": error.problems}
        fields: dict[Any, Any] = {"job": job, "error": msgspec.json.encode(problem).decode(), "entry": entry}
        with guard():
            await self.client.xadd(keys.REJECTED, fields, maxlen=_REJECTED_KEPT, approximate=True)

    async def asks(self, channel: str, now: int, limit: int) -> list[tuple[int, str]]:
        """Partition and inner id of messages in doubt to be asked about now, up to `limit` of each partition."""
        with guard():
            pipe = self.client.pipeline()
            for p in range(self.partitions):
                pipe.zrangebyscore(f"{keys.prefix(p)}ask:{channel}", "-inf", now, start=0, num=limit)
            found = cast(list[list[str]], await pipe.execute())
        return [(p, local) for p, locals_ in enumerate(found) for local in locals_]

    async def audit(self, by: str, action: str, subject: str, now: int) -> None:
        """Note what a person did, for whoever asks later."""
        fields = {"by": by, "action": action, "subject": subject, "at": str(now)}
        await self.scripts.run(self.scripts.note(keys.AUDIT, _AUDIT_KEPT, fields))

    async def tell(self, p: int, kind: str, now: int, data: dict[str, str]) -> None:
        """Put a notice on the board that staff read (bot.engine.control.News)."""
        fields = {"type": kind, "at": str(now), "data": msgspec.json.encode(data).decode()}
        await self.scripts.run(self.scripts.note(f"{keys.prefix(p)}news", _NEWS_KEPT, fields))


def _pairs(reply: Any) -> dict[str, str]:
    """A hash as the server says it, or as the library of a cluster does."""
    return pairs(reply) if isinstance(reply, list) else reply
