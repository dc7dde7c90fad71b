"""The Lua scripts as typed calls: the only door through which records change.

A script is addressed by its hash, so two versions of tuma can run side by side on one server; a server that has
forgotten it (restart, flush) is told again. Texts go in, texts come out: Lua would print large numbers as 1e14.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, RedisError

from bot.engine import keys, library, merging
from bot.engine.lines import Lines
from bot.engine.replicas import Replicas
from bot.engine.store import Client, guard
from bot.engine.together import Together

T = TypeVar("T")

_ahead_ms = 0


def now_ms() -> int:
    """Wall clock in ms since 1970."""
    return time.time_ns() // 1_000_000 + _ahead_ms


def put_clock_forward(ms: int) -> None:
    """Let time pass at once, in this process alone: for a replay whose data set nobody else uses.

    Timers, retries, quiet hours and validity all go by `now_ms`; leases and request timeouts do not.
    """
    global _ahead_ms
    _ahead_ms += max(ms, 0)


def put_clock_right() -> None:
    """End what `put_clock_forward` began."""
    global _ahead_ms
    _ahead_ms = 0


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A flat field-value list as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text and the hash that addresses it."""

    name: str
    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One script call that has not been made: where, with what, and how its answer reads."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]
    parse: Callable[[Any], T]


class HandedOut(msgspec.Struct, frozen=True):
    """A message this consumer now holds, with all that rendering needs (field maps, see lua/_lib.lua)."""

    partition: int
    id: str
    entry: str
    attempt: int
    lane: str
    message: Mapping[str, str]
    share: Mapping[str, str]
    account: Mapping[str, str]


class Drawn(msgspec.Struct, frozen=True):
    """What waits for a number: a claim (`c:<name>`) or a closed number (`n:<number>`), with one of its shares."""

    member: str
    reference: str
    tries: int
    record: Mapping[str, str]
    share: Mapping[str, str]


class Question(msgspec.Struct, frozen=True):
    """A message in doubt that this process asks about; see lua/_lib.lua. `token` is good until the lease ends."""

    token: str
    held: HandedOut
    owned: Sequence[str]
    alone: bool


class Freshness(msgspec.Struct, frozen=True):
    """How old a provider's answer may be, in ms, when a message is sent again on it, and how long one is asked for."""

    good_ms: int
    lease_ms: int


class More(msgspec.Struct, frozen=True):
    """What a hand_out left: lanes (of 'u' and 'b') where more may wait, and what must be asked about before it goes."""

    lanes: str
    questions: Sequence[Question]


def _question(p: int, message: str, reply: Sequence[Any]) -> Question:
    token, m, s, a, owned, alone = reply
    fields = pairs(m)
    held = HandedOut(p, message, "", int(fields["a"]), fields["ln"], fields, pairs(s), pairs(a))
    return Question(token, held, owned, alone == "1")


def _short(digest: str) -> str:
    """96 bits of a job's digest: it is only compared with what the same id was used for before."""
    return base64.urlsafe_b64encode(hashlib.blake2b(digest.encode(), digest_size=12).digest()).decode()


def _dump(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Scripts:
    """Builds calls and makes them. Every method that names a script only builds the call."""

    def __init__(
        self, client: Client, replicas: Replicas | None = None, keep_days: int = library.KEEP_DAYS
    ) -> None:
        self._client = client
        self._replicas = replicas or Replicas(client)
        # A pipeline of a cluster fails as a whole when one of its servers is away, so calls go there by themselves.
        self._lines = None if isinstance(client, RedisCluster) else Lines(client)
        self.spread = self._lines is None
        self._one: Together[Call[Any], Any] = Together(self._replies)
        self._one_kept: Together[Call[Any], Any] = Together(self._kept_replies)
        self._scripts: dict[str, Script] = {}
        for name in library.names():
            body = library.text(name, keep_days)
            self._scripts[name] = Script(name, body, hashlib.sha1(body.encode()).hexdigest())  # noqa: S324

    async def run(self, call: Call[T]) -> T:
        """Make one call, in one round trip with what other tasks call. Raises StoreUnavailable."""
        if self.spread:
            [answer] = await self.run_many([call])
            return answer
        return self._answer(call, await self._one(call))

    async def run_kept(self, call: Call[T]) -> T:
        """As `run_many_kept`, one call, in one round trip with what other tasks call."""
        if self.spread:
            [answer] = await self.run_many_kept([call])
            return answer
        return self._answer(call, await self._one_kept(call))

    async def run_many(self, calls: Sequence[Call[T]]) -> list[T]:
        """Make many calls in one round trip a server, in order. Raises StoreUnavailable; some may have been made."""
        return self._answers(calls, await self._replies(calls))

    async def run_many_kept(self, calls: Sequence[Call[T]]) -> list[T]:
        """As `run_many`; when it returns, what was written is on replicas too, as far as there are any.

        Raises StoreUnavailable, also when no replica has it in time (NotReplicated): all may have been made.
        """
        return self._answers(calls, await self._kept_replies(calls))

    async def _replies(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """What the server said to each call, errors among it."""
        if not calls:
            return []
        merged = merging.merged(calls, apart=self.spread)
        together = [call for call, _ in merged]
        pipe = self._pipeline()
        self._add(pipe, together)
        return merging.each(merged, await self._loaded(together, await _execute(pipe)))

    async def _kept_replies(self, calls: Sequence[Call[Any]]) -> list[Any]:
        if not calls:
            return []
        prefixes = list(dict.fromkeys(call.keys[0] for call in calls))
        merged = merging.merged(calls, apart=self.spread)
        together = [call for call, _ in merged]
        pipe = self._pipeline()
        self._add(pipe, together)
        # On the same connection as the writes: another may lead to a server that never had them.
        asked = await self._replicas.ask(pipe, prefixes)
        said = await _execute(pipe)
        forgotten = any(isinstance(reply, NoScriptError) for reply in said)
        replies = await self._loaded(together, said[: len(together)])
        self._replicas.check(asked, said[len(together) :])
        if asked and (forgotten or self._replicas.moved(asked, prefixes)):
            await self.reached(prefixes)
        return merging.each(merged, replies)

    async def command(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        """What the server says to commands that change no account, in one round trip a server, errors among it.

        They may be made in any order, and others' between them. Raises StoreUnavailable.
        """
        if not commands:
            return []
        if self.spread and len(commands) == 1:
            with guard():
                return [await self._client.execute_command(*commands[0])]
        pipe = self._pipeline()
        for words in commands:
            pipe.execute_command(*words)
        return await _execute(pipe)

    async def reached(self, prefixes: Iterable[str]) -> None:
        """Wait until replicas have all that was written to these partitions. Raises StoreUnavailable."""
        pipe = self._pipeline()
        asked = await self._replicas.ask(pipe, prefixes)
        if asked:
            self._replicas.check(asked, await _execute(pipe))

    async def close(self) -> None:
        """Disconnect."""
        if self._lines is not None:
            await self._lines.close()

    def _pipeline(self) -> Any:
        return self._client.pipeline() if self._lines is None else self._lines.pipeline()

    def _add(self, pipe: Any, calls: Sequence[Call[Any]]) -> None:
        for call in calls:
            # The cluster pipeline blocks the method `evalsha`, not the command; it routes by the declared keys.
            sha = self._scripts[call.script].sha
            pipe.execute_command("EVALSHA", sha, len(call.keys), *call.keys, *map(str, call.args))

    async def _loaded(self, calls: Sequence[Call[Any]], replies: Sequence[Any]) -> list[Any]:
        """The replies; scripts that the server had forgotten are told again, and their calls made, in order."""
        made, told, again = list(replies), set[str](), []
        for i, call in enumerate(calls):
            if not isinstance(made[i], NoScriptError):
                continue
            if call.script in told:
                again.append(i)
            else:
                made[i] = await self._tell(call)
                told.add(call.script)
        if again:
            pipe = self._pipeline()
            self._add(pipe, [calls[i] for i in again])
            for i, reply in zip(again, await _execute(pipe), strict=True):
                # On a cluster another server may not have been told yet.
                made[i] = await self._tell(calls[i]) if isinstance(reply, NoScriptError) else reply
        return made

    async def _tell(self, call: Call[Any]) -> Any:
        text = self._scripts[call.script].text
        try:
            return await self._client.eval(text, len(call.keys), *call.keys, *map(str, call.args))
        except RedisError as error:
            return error

    def _answers(self, calls: Sequence[Call[T]], replies: Sequence[Any]) -> list[T]:
        return [self._answer(call, reply) for call, reply in zip(calls, replies, strict=True)]

    def _answer(self, call: Call[T], reply: Any) -> T:
        if isinstance(reply, Exception):
            with guard():
                raise reply
        return call.parse(reply)

    # Intake

    def claim(
        self, p: int, share_id: str, digest: str, number: str, job: str, *, lane: str = "u", raw: str = ""
    ) -> Call[tuple[str, str, str]]:
        """Take a claim name: ('new' | 'open' | 'making' | 'done' | 'conflict', sid, number).

        Without a number one is to be made, in `lane` (u | b); `raw` is the job as it came, if its refusal must show it.
        """
        return Call(
            "claim",
            self._claim_keys(p, share_id),
            (now_ms(), share_id, _short(digest), number, keys.fresh_sid(), job, lane, raw),
            lambda reply: (reply[0], reply[1], reply[2]),
        )

    def confirm(
        self,
        p: int,
        share_id: str,
        sid: str,
        *,
        accepted: str | None,
        why: str = "",
        sync: bool = False,
        given: Sequence[str] = (),
    ) -> Call[int]:
        """Confirm a claim for the share `accepted` (its sid), or release it after a refusal (None).

        One whose number was made already is kept as refused; with `sync` ClickPesa is to close the number. `given`, if
        all is on one server: the share's record, and of each contact record, field and words (see lua/confirm.lua).
        1, 0 if it was not open any more, -1 if there is no such claim, -2 if what was given is not so.
        """
        tell = "1" if sync else "0"
        args = (share_id, sid, "0" if accepted is None else "1", accepted or "", why, now_ms(), tell, *given)
        return Call("confirm", self._claim_keys(p, share_id), args, int)

    def _claim_keys(self, p: int, name: str) -> tuple[str, str, str]:
        return keys.prefix(p), keys.ids(p, name), keys.claim(p, name)

    def named(self, p: int, words: str, start: int, most: int, numbers: int) -> Call[tuple[int, list[str]]]:
        """Of `most` names from `start` on: how many there were, and numbers (so many) where one holds the words."""
        args = (words, start, most, numbers)
        return Call("named", (keys.prefix(p),), args, lambda reply: (int(reply[0]), list(reply[1:])))

    def accept(self, p: int, now: int, job: Mapping[str, Any]) -> Call[list[str]]:
        """Put a share on its bill: ['ok', settled, id...], ['repeated'] or ['refused', code, detail]."""
        return Call("accept", (keys.prefix(p),), (now, _dump(job)), list)

    # Control numbers that are to be made

    def draw(
        self, p: int, now: int, lane: str, lease_ms: int, references: Sequence[str]
    ) -> Call[list[Drawn]]:
        """Take what waits for a number in `lane`, at most one for each fresh reference."""

        def parse(reply: Any) -> list[Drawn]:
            return [Drawn(row[0], row[1], int(row[2]), pairs(row[3]), pairs(row[4])) for row in reply]

        return Call("draw", (keys.prefix(p),), (now, lane, lease_ms, *references), parse)

    def made(self, p: int, now: int, name: str, number: str) -> Call[bool]:
        """The number of a claim exists: whether the claim was waiting for it."""
        return Call("made", (keys.prefix(p),), (now, name, number), bool)

    def unmade(
        self,
        p: int,
        member: str,
        reference: str,
        step: Literal["later", "another", "refused"],
        detail: str | int = "",
    ) -> Call[bool]:
        """The number was not made: try later (at ms), under another reference, or never (why)."""
        return Call("unmade", (keys.prefix(p),), (now_ms(), member, reference, step, detail), bool)

    def open_bill(self, p: int, number: str, bill: Mapping[str, str]) -> Call[bool]:
        """Put a number that tuma made on record, without a share."""
        return Call("open_bill", (keys.prefix(p),), (number, _dump(bill)), bool)

    def succeed(
        self, p: int, old: str, new: str, kind: str, minor: int, valid_ms: int, names: Sequence[str]
    ) -> Call[list[str]]:
        """Let `new` stand for what is owed under `old`: ['ok', address...], ['unneeded'], ['amount', n], ['stale']."""
        now = now_ms()
        args: tuple[str | int, ...] = (now, old, new, kind, minor, now + valid_ms, "1", *names)
        return Call("succeed", (keys.prefix(p),), args, list)

    def sync_take(self, p: int, lease_ms: int, most: int) -> Call[list[tuple[str, str, Mapping[str, str]]]]:
        """Numbers of which ClickPesa must be told: (number, version, account)."""

        def parse(reply: Any) -> list[tuple[str, str, Mapping[str, str]]]:
            return [(row[0], row[1], pairs(row[2])) for row in reply]

        return Call("sync", (keys.prefix(p),), (now_ms(), "take", lease_ms, most), parse)

    def sync_expect(self, p: int, number: str, at_ms: int) -> Call[bool]:
        """ClickPesa is told of a change that is not made here yet; `at_ms` is when it hears what stands here."""
        return Call("sync", (keys.prefix(p),), (now_ms(), "expect", number, "", at_ms), bool)

    def sync_done(self, p: int, number: str, version: str, *, later_ms: int | None = None) -> Call[bool]:
        """ClickPesa was told of this version of a number, or (`later_ms`) is to be told then."""
        step = "told" if later_ms is None else "later"
        return Call("sync", (keys.prefix(p),), (now_ms(), step, number, version, text(later_ms)), bool)

    # Worker and scheduler

    def hand_out(
        self,
        p: int,
        now: int,
        channel: str,
        consumer: str,
        most: tuple[int, int],
        quiet_until: int | None = None,
        known_from: int | None = None,
        fresh: Freshness | None = None,
        absent: Question | None = None,
    ) -> Call[tuple[list[HandedOut], More]]:
        """Claim up to `most` (in all, of them bulk) messages, what must be asked about first counted in.

        `quiet_until` is when the quiet hours end, in ms, None outside them; `known_from` until when payments must be
        known for a reminder to go out, None if it need not. `absent`: the provider was asked about this one just now
        and does not have it, so it alone is claimed.
        """

        def parse(reply: Any) -> tuple[list[HandedOut], More]:
            rows = [
                HandedOut(p, row[0], row[1], int(row[2]), row[3], pairs(row[4]), pairs(row[5]), pairs(row[6]))
                for row in reply[0]
            ]
            return rows, More(reply[1], [_question(p, row[0], row[1:]) for row in reply[2]])

        asked = (absent.held.id, absent.token) if absent is not None else ("", "")
        good = (fresh.good_ms, fresh.lease_ms) if fresh is not None else ("", "")
        return Call(
            "hand_out",
            (keys.prefix(p),),
            (now, channel, consumer, *most, text(quiet_until), text(known_from), *good, *asked),
            parse,
        )

    def finish(self, p: int, now: int, results: Sequence[Mapping[str, str]]) -> Call[list[str]]:
        """Record outcomes; returns the ids that were stale."""
        return Call("finish", (keys.prefix(p),), (now, _dump(results)), list)

    def due(
        self, p: int, now: int, limit: int, policies: Mapping[str, str], asked: Sequence[str] = ()
    ) -> Call[tuple[int, int | None]]:
        """Handle due timers: how many, and when the next is due in ms. `asked`: channels whose workers ask first."""
        return Call(
            "due",
            (keys.prefix(p),),
            (now, limit, _dump(policies), " ".join(asked)),
            lambda reply: (int(reply[0]), int(float(reply[1])) if reply[1] else None),
        )

    def reclaim(self, p: int, now: int, channel: str, *, idle_ms: int, wait_ms: int) -> Call[int]:
        """Put what dead consumers held for `idle_ms` in doubt."""
        return Call("reclaim", (keys.prefix(p),), (now, channel, idle_ms, 100, wait_ms), int)

    def ask(self, p: int, now: int, channel: str, message: str, lease_ms: int) -> Call[Question | None]:
        """Take a message in doubt to ask about it; None if there is nothing to ask now."""

        def parse(reply: Any) -> Question | None:
            return _question(p, message, reply) if reply else None

        return Call("ask", (keys.prefix(p),), (now, channel, message, lease_ms), parse)

    def asked(
        self, p: int, now: int, message: str, token: str, values: tuple[str, int, int, int, str]
    ) -> Call[bool]:
        """Note an answer that did not name a message in doubt; values as in lua/asked.lua from ARGV 4 on."""
        return Call("asked", (keys.prefix(p),), (now, message, token, *values), bool)

    def delivery(self, p: int, now: int, values: Sequence[str]) -> Call[tuple[int, str, str]]:
        """Apply what a provider said; values as in lua/delivery.lua from ARGV 2 on.

        What lua/delivery.lua says of it, and the message's channel and address; both '' where there is no such message.
        """
        return Call(
            "delivery", (keys.prefix(p),), (now, *values), lambda reply: (int(reply[0]), reply[1], reply[2])
        )

    # Limits

    def lease(
        self, request: Mapping[str, Any], now_us: int | None = None
    ) -> Call[tuple[int, int, float, float]]:
        """Tokens and places; see lua/lease.lua: messages, of them bulk, seconds until each may be asked for again."""
        return Call(
            "lease",
            (keys.LIMITS,),
            (text(now_us), _dump(request)),
            lambda reply: (int(reply[0]), int(reply[1]), int(reply[2]) / 1e6, int(reply[3]) / 1e6),
        )

    def chats(self, every_us: int, chats: Sequence[str], now_us: int | None = None) -> Call[list[float]]:
        """For each chat 0 if it may get a message now, else the seconds until it may."""
        args: tuple[str | int, ...] = (text(now_us), every_us, *chats)
        return Call("chats", (keys.LIMITS,), args, lambda reply: [int(wait) / 1e6 for wait in reply])

    # Payments and control

    def settle(self, p: int, now: int, event: Mapping[str, Any], raw: str) -> Call[list[Any]]:
        """Take one thing said about a payment, `raw` as it was told.

        [outcome, payment id, reason, cancelled, receipts, number it was matched to].
        """
        return Call("settle", (keys.prefix(p),), (now, _dump(event), raw), list)

    def match_out(
        self,
        p: int,
        payment: str,
        number: str,
        step: Literal["reserve", "counted", "dismiss"],
        successor: str,
    ) -> Call[list[str]]:
        """Reserve a kept payment for a number, mark it counted there, or dismiss it."""
        code = {"reserve": "0", "counted": "1", "dismiss": "2"}[step]
        args = (payment, number, code, now_ms(), successor)
        return Call("match_out", (keys.prefix(p),), args, list)

    def hint(self, p: int, now: int, number: str, hold_ms: int) -> Call[bool]:
        """Note an unproven payment of an open number."""
        return Call("hint", (keys.prefix(p),), (now, number, hold_ms), bool)

    def hint_done(self, p: int, number: str) -> Call[int]:
        """End a hint and its hold."""
        return Call("hint_done", (keys.prefix(p),), (number,), int)

    def stop(
        self, p: int, now: int, number: str, by: str, *, cancel: bool = False, sync: bool = False
    ) -> Call[int]:
        """Stop a number: messages cancelled, -1 if unknown. `cancel`: with `sync` ClickPesa is to close it too."""
        args = (now, number, by, "1" if cancel else "0", "1" if sync else "0")
        return Call("stop", (keys.prefix(p),), args, int)

    def change(self, p: int, now: int, number: str, change: Mapping[str, Any]) -> Call[list[Any]]:
        """Change a bill: ['ok', number, made, cancelled], ['unknown'], ['again'] or ['refused', field, why]."""
        return Call("change", (keys.prefix(p),), (now, number, _dump(change)), list)

    def suppress(self, p: int, now: int, number: str, channel: str, address: str, reason: str) -> Call[int]:
        """Silence a contact's channel on one number ('' lifts it): messages that will not go out."""
        return Call("suppress", (keys.prefix(p),), (now, number, channel, address, reason), int)

    def event_next(
        self, p: int, now: int, number: str, lease_ms: int, *, delivered: str | None = None
    ) -> Call[list[Any]]:
        """Take a number's oldest event ([JSON, attempt] or []), or note that the event `delivered` arrived."""
        args = (now, number, "done" if delivered else "take", lease_ms, delivered or "")
        return Call("event_next", (keys.prefix(p),), args, list)

    def give_back(self, p: int, now: int, channel: str, consumer: str, holds: Sequence[str]) -> Call[int]:
        """Let wait again what an unanswered hand_out gave this consumer; `holds` are the ids it does send."""
        return Call("give_back", (keys.prefix(p),), (now, channel, consumer, _dump(list(holds))), int)

    def forget(
        self, p: int, now: int, number: str, kind: str, address: str, names: Sequence[str]
    ) -> Call[tuple[int, list[str]]]:
        """Take a contact's personal data off a number: shares changed, and 'kind:address' of what went with it."""
        args = (now, number, kind, address, _dump(list(names)))
        return Call("forget", (keys.prefix(p),), args, lambda reply: (int(reply[0]), list(reply[1:])))

    def link(self, p: int, now: int, sid: str, secret: str, chat: str, valid: int) -> Call[list[str]]:
        """Give a share's contact a Telegram chat."""
        return Call("link", (keys.prefix(p),), (now, sid, secret, chat, valid), list)

    def resend(self, p: int, now: int, sid: str, channel: str, valid: int) -> Call[list[str]]:
        """Send a share's instructions again."""
        return Call("resend", (keys.prefix(p),), (now, sid, channel, valid), list)

    def inspect(self, p: int, kind: str, names: Sequence[str]) -> Call[list[str]]:
        """What does not agree about these records (see lua/inspect.lua)."""
        return Call("inspect", (keys.prefix(p),), (kind, *names), list)

    # What processes share beside accounts

    def own(self, key: str, owner: str, ttl_ms: int) -> Call[bool]:
        """Take or renew a lease for `ttl_ms`; 0 ends it. False when another has it."""
        return Call("own", (key,), (owner, ttl_ms), bool)

    def call(self, key: str, now: int, values: Sequence[int | str]) -> Call[int]:
        """Use one request to ClickPesa; values as in lua/call.lua from ARGV 2 on. 0, or ms to wait."""
        return Call("call", (key,), (now, *values), int)

    # Pages

    def page(
        self, p: int, sid: str, payments: int
    ) -> Call[tuple[dict[str, str], dict[str, str], list[dict[str, str]]]]:
        """A share, its account and its newest payments; empty without them."""

        def parse(reply: Any) -> tuple[dict[str, str], dict[str, str], list[dict[str, str]]]:
            if not reply:
                return {}, {}, []
            return pairs(reply[0]), pairs(reply[1]), [pairs(each) for each in reply[2] if each]

        return Call("page", (keys.prefix(p),), (sid, payments), parse)

    def note(self, stream: str, most: int, fields: Mapping[str, str]) -> Call[str]:
        """Put an entry at the end of a stream that keeps about `most`."""
        return Call("note", (stream,), (most, *(part for pair in fields.items() for part in pair)), str)

    def pause(self, p: int, channel: str, why: str, *, itself: bool) -> Call[bool]:
        """Pause a channel in one partition, or resume it (''): whether that changed anything.

        `itself`: it is tuma's own doing, which leaves a person's pause as it is.
        """
        return Call("pause", (keys.prefix(p),), (channel, why, "1" if itself else "0"), bool)

    def consent(self, p: int, contact: str, word: Literal["out", "in"], channel: str, said: str) -> Call[int]:
        """Note a contact's no or yes to a channel; `contact` is its key."""
        return Call("consent", (keys.prefix(p), contact), (word, channel, said), int)

    def know(
        self, p: int, contact: str, keep_s: int, fields: Mapping[str, str], *, share: str = ""
    ) -> Call[dict[str, str]]:
        """Note something about a contact; its record is kept so long, or for good if the person decided something.

        The answer is that of `reach`, after it was noted. Of a `share` (its record, where all is on one server) that is
        not there nothing is noted.
        """
        flat = [part for pair in fields.items() for part in pair]
        return Call("know", (keys.prefix(p), contact), (keep_s, share, *flat), pairs)

    def reach(self, p: int, contact: str) -> Call[dict[str, str]]:
        """What decides how a contact can be reached: `x:<channel>`, `chat`, `w`, those that are there."""
        return Call("reach", (keys.prefix(p), contact), (), pairs)

    # Dead letters and contacts

    def replay(self, p: int, now: int, valid: int, mode: str, ids: Sequence[str]) -> Call[list[list[str]]]:
        """Send dead letters again ('one', 'many' or 'doubt'); per id ['ok' | 'closed' | 'refused' | 'unknown', ...]."""
        return Call("replay", (keys.prefix(p),), (now, valid, mode, *ids), list)

    def arrived(self, p: int, now: int, message: str) -> Call[list[str]]:
        """Note that a message in doubt did arrive."""
        return Call("arrived", (keys.prefix(p),), (now, message), list)

    def edit_contact(self, p: int, now: int, sid: str, edit: Mapping[str, Any]) -> Call[list[str]]:
        """Give a share's contact other addresses: ['ok', kind, address, ...] with what was given up."""
        return Call("edit_contact", (keys.prefix(p),), (now, sid, _dump(edit)), list)

    def give_up(self, p: int, number: str, kind: str, address: str, *, sure: bool) -> Call[bool]:
        """Whether no share of a number has this address any more; `sure` takes it off the number's contacts then."""
        return Call("give_up", (keys.prefix(p),), (number, kind, address, "1" if sure else "0"), bool)


async def _execute(pipe: Any) -> list[Any]:
    with guard():
        return list(await pipe.execute(raise_on_error=False))


def text(value: object) -> str:
    """A value as Lua wants it: '' for None."""
    return "" if value is None else str(value)
