"""Consent and reachability of people, in their own slot: one ledger with time and proof.

Accept writes the index from contact to number after the messages exist, and only then reads consent; opt-out writes
consent first and then walks the index. Whichever comes first, one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal

import msgspec

from bot.domain.contact import mask
from bot.domain.share import Customer, ShareJob
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.scripts import Call, now_ms, text
from bot.engine.store import guard
from bot.engine.views import KIND
from bot.errors import Conflict, NotFound, Problem, StoreFull

LINKED_VALID_MS = 7 * 86_400_000
KEPT_S = 800 * 86_400
_MISSED_MOST = 5
# The linked chat, and the provider's word for the wallet or bank of their last payment.
_OF_ONE = ("chat", "w")
_APART = "\x1f"


class Suppression(msgspec.Struct, frozen=True):
    """Why a channel is silent for a contact."""

    channel: str
    reason: str
    at: datetime
    proof: str | None = None


class ContactView(msgspec.Struct, frozen=True, kw_only=True):
    """A contact as staff see it."""

    address: str
    kind: str
    suppressed: list[Suppression]
    telegram: bool
    numbers: list[str]
    last_inbound_at: datetime | None
    locale: str | None


class _Consent(msgspec.Struct):
    reason: str
    at: int
    proof: str


def kind_of(address: str) -> str:
    """phone, email or telegram."""
    return "phone" if address.startswith("+") else "email" if "@" in address else "telegram"


def addresses(customer: Customer) -> list[tuple[str, str]]:
    """(kind, address) of all that is known of a customer."""
    given = (("phone", customer.phone), ("email", customer.email), ("telegram", customer.telegram))
    return [(kind, address) for kind, address in given if address]


def _reasons(fields: Mapping[str, str]) -> dict[str, str]:
    if not fields:
        return {}
    return {
        name: msgspec.json.decode(value, type=_Consent).reason if name.startswith("x:") else value
        for name, value in fields.items()
        if name.startswith("x:") or name in _OF_ONE
    }


def _merge(reasons: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Consent of all addresses together; chat and wallet only of the first, which is whose they are: an address that
    two people share (an office's mail) must not bring one's bills to the other's chat.
    """
    if not any(reasons):
        return {}
    merged = {k: v for each in reasons for k, v in each.items() if k not in _OF_ONE}
    return merged | {k: reasons[0][k] for k in _OF_ONE if reasons and k in reasons[0]}


class Contacts:
    """The contacts of all partitions."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def key(self, kind: str, address: str) -> str:
        """Where a contact's record is."""
        return keys.contact(kind, address, self._records.partitions)

    async def read(self, customers: Sequence[Customer]) -> list[dict[str, str]]:
        """Per customer: `x:<channel>` reasons, the linked `chat` and last wallet `w`, merged over their addresses."""
        answers = iter(await self._records.scripts.run_many(self.asked(customers)))
        return await self.understood([[next(answers) for _ in addresses(one)] for one in customers])

    def asked(self, customers: Sequence[Customer]) -> list[Call[dict[str, str]]]:
        """What `read` asks, one call an address."""
        reach = self._records.scripts.reach
        return [reach(*self._place(*pair)) for customer in customers for pair in addresses(customer)]

    async def understood(self, found: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, str]]:
        """What `read` makes of the answers, those to each customer's addresses; a linked chat is looked up."""
        scripts = self._records.scripts
        merged = [_merge([_reasons(fields) for fields in each]) for each in found]
        chats = [scripts.reach(*self._place("telegram", m["chat"])) for m in merged if m.get("chat")]
        linked = iter(await scripts.run_many(chats))
        for m in merged:
            if m.get("chat"):
                m.update({k: v for k, v in _reasons(next(linked)).items() if k == "x:telegram"})
        return merged

    async def touch(self, taken: Sequence[tuple[ShareJob, str, Mapping[str, str], str | None]]) -> None:
        """Index accepted shares under their contacts, then apply what consent or link came meanwhile."""
        calls = [
            self._know(kind, address, {f"b:{job.bill.number}": "1"})
            for job, _, _, chat in taken
            for kind, address in [*addresses(job.customer), *([("telegram", chat)] if chat else [])]
        ]
        # One step of the contact's own notes the number and reads what they said: nothing comes between.
        found = iter(await self._records.scripts.run_many(calls))
        known = []
        for job, _, _, chat in taken:
            known.append([next(found) for _ in addresses(job.customer)])
            if chat:
                next(found)
        now = await self.understood(known)
        for (job, sid, before, chat), after in zip(taken, now, strict=True):
            await self._catch_up(job, sid, before, chat, after)

    def noting(self, number: str, customer: Customer, share: str) -> list[Call[dict[str, str]]]:
        """Index a share, should its record be there, under its contact. Only where all is on one server."""
        noted = {f"b:{number}": "1"}
        return [self._know(*pair, noted, share=share) for pair in addresses(customer)]

    def as_said(self, number: str, customer: Customer, said: Sequence[Mapping[str, str]]) -> list[str] | None:
        """What `Scripts.confirm` compares: the number is indexed, and they say what they did. None: it must be read."""
        given: list[str] = []
        for (kind, address), fields in zip(addresses(customer), said, strict=True):
            if "chat" in fields:
                return None  # whose own record counts as well
            words = _APART.join(part for pair in fields.items() for part in pair)
            given += (self.key(kind, address), f"b:{number}", words)
        return given

    async def index(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Put numbers under contacts: (number, kind, address)."""
        await self._records.scripts.run_many(
            [self._know(kind, address, {f"b:{number}": "1"}) for number, kind, address in rows]
        )

    def _know(
        self, kind: str, address: str, fields: Mapping[str, str], *, share: str = ""
    ) -> Call[dict[str, str]]:
        return self._records.scripts.know(*self._place(kind, address), KEPT_S, fields, share=share)

    def _place(self, kind: str, address: str) -> tuple[int, str]:
        p = keys.contact_partition(kind, address, self._records.partitions)
        return p, keys.contact_in(p, kind, address)

    async def _note(self, kind: str, address: str, fields: Mapping[str, str]) -> None:
        await self._records.scripts.run(self._know(kind, address, fields))

    async def unindex(self, number: str, kind: str, address: str) -> None:
        """Take a number off a contact."""
        with guard():
            await self._records.client.hdel(self.key(kind, address), f"b:{number}")

    async def _catch_up(
        self, job: ShareJob, sid: str, before: Mapping[str, str], chat: str | None, after: Mapping[str, str]
    ) -> None:
        number, scripts = text(job.bill.number), self._records.scripts
        p = self._records.partition(number)
        for field, reason in after.items():
            channel = field.removeprefix("x:")
            address = chat if channel == "telegram" else getattr(job.customer, KIND.get(channel, ""), None)
            if field.startswith("x:") and channel not in before and address:
                await scripts.run(scripts.suppress(p, now_ms(), number, channel, address, reason))
        if after.get("chat") and not chat and not job.customer.telegram:
            await self.join(number, sid, after["chat"])

    async def join(self, number: str, sid: str, chat: str) -> None:
        """A share's contact is known to be linked to a chat: what waits for it goes there too."""
        await self.index([(number, "telegram", chat)])
        now, scripts = now_ms(), self._records.scripts
        p = self._records.partition(number)
        await scripts.run(scripts.link(p, now, sid, "", chat, now + LINKED_VALID_MS))

    async def show(self, address: str) -> ContactView:
        """All that is known of a contact by phone (E.164), email or chat id. Raises NotFound."""
        kind = kind_of(address)
        fields = await self._records.client_hash(self.key(kind, address))
        if not fields:
            raise NotFound("no such contact")
        chat = (
            await self._records.client_hash(self.key("telegram", fields["chat"]))
            if fields.get("chat")
            else {}
        )
        said = {k: v for k, v in {**chat, **fields}.items() if k.startswith("x:")}
        return ContactView(
            address=mask(address),
            kind=kind,
            suppressed=[_suppression(k[2:], v) for k, v in sorted(said.items())],
            telegram=kind == "telegram" or "chat" in fields,
            numbers=sorted(k[2:] for k in fields if k.startswith("b:")),
            last_inbound_at=views.moment(fields.get("wi")),
            locale=fields.get("loc"),
        )

    async def opt_out(self, channel: str, address: str, *, proof: str, reason: str = "opted out") -> int:
        """Nothing more to this address on this channel: consent first, then what waits. How many messages."""
        key, now = self.key(KIND[channel], address), now_ms()
        consent = msgspec.json.encode(_Consent(reason, now, proof)).decode()
        await self._say("out", channel, address, consent)
        return await self._each_number(key, channel, address)

    async def opt_in(self, channel: str, address: str, *, proof: str) -> None:
        """The contact wants messages on this channel again."""
        key, now = self.key(KIND[channel], address), now_ms()
        await self._say(
            "in", channel, address, msgspec.json.encode(_Consent("opted in", now, proof)).decode()
        )
        await self._each_number(key, channel, address)

    async def _say(self, word: Literal["out", "in"], channel: str, address: str, said: str) -> None:
        kind, scripts = KIND[channel], self._records.scripts
        p = keys.contact_partition(kind, address, self._records.partitions)
        await scripts.run_kept(scripts.consent(p, self.key(kind, address), word, channel, said))

    async def _each_number(self, key: str, channel: str, address: str) -> int:
        """Tell each of their numbers what they said last; how many messages that ends.

        Who says no and yes again at once is heard by two processes: whichever ends last looks once more.
        """
        scripts, ended = self._records.scripts, 0
        fields, told = await self._records.client_hash(key), None
        while (said := fields.get(f"x:{channel}", "")) != told:
            now, told = now_ms(), said
            reason = msgspec.json.decode(said, type=_Consent).reason if said else ""
            calls = [
                scripts.suppress(self._records.partition(number), now, number, channel, address, reason)
                for number in (name[2:] for name in fields if name.startswith("b:"))
            ]
            ended += sum(await scripts.run_many(calls))
            fields = await self._records.client_hash(key)
        return ended

    async def opt_out_token(self, token: str, channel: str | None, *, proof: str) -> list[str]:
        """Opt out whoever holds a share's token, on one channel or on all; the channels stopped. Raises NotFound."""
        p, sid = keys.parse_token(token, self._records.partitions)
        share = await self._records.share(p, sid)
        stopped = []
        for name in [channel] if channel else list(KIND):
            address = share.get(f"a:{KIND.get(name, '')}")
            if address:
                await self.opt_out(name, address, proof=proof)
                stopped.append(name)
        return stopped

    async def link(self, payload: str, chat_id: str) -> str:
        """Join a share's contact to a Telegram chat; returns the control number.

        `payload` is that of the deep link. Raises NotFound (unknown or forged), Conflict (another chat has it).
        """
        p, sid, secret = keys.parse_link(payload, self._records.partitions)
        now, scripts = now_ms(), self._records.scripts
        reply = await scripts.run(scripts.link(p, now, sid, secret, chat_id, now + LINKED_VALID_MS))
        if reply[0] == "taken":
            raise Conflict(Problem(field="token", message="this bill is linked to another Telegram account"))
        if reply[0] != "ok":
            raise NotFound("no such link")
        share = await self._records.share(p, sid)
        kind = "phone" if share.get("a:phone") else "email"
        if share.get(f"a:{kind}"):
            await self._note(kind, share[f"a:{kind}"], {"chat": chat_id})
        await self.index([(reply[1], "telegram", chat_id)])
        with guard():
            await self._records.client.hdel(self.key("telegram", chat_id), "x:telegram")
        await self._join_others(share, reply[1], chat_id)
        return reply[1]

    async def _join_others(self, share: Mapping[str, str], number: str, chat_id: str) -> None:
        """The same contact's other open bills go to the chat too."""
        field = "a:phone" if share.get("a:phone") else "a:email"
        address = share.get(field, "")
        for other in await self.numbers_of(address) if address else []:
            account = await self._records.client_hash(
                f"{keys.prefix(self._records.partition(other))}a:{other}"
            )
            for fields in await self._records.shares_of(other, account):
                if other != number and fields.get(field) == address and not fields.get("a:telegram"):
                    await self.join(other, fields["sid"], chat_id)

    async def forget(self, address: str, *, by: str) -> int:
        """Erase a contact's personal data everywhere; shares changed. Raises NotFound.

        The person goes, not only the address: what else their shares had is erased with it. Bills and payments stay,
        without name and address. An opt-out stays too, or it would be forgotten with them.
        """
        kind, now, scripts = kind_of(address), now_ms(), self._records.scripts
        fields = await self._records.client_hash(self.key(kind, address))
        if not fields:
            raise NotFound("no such contact")
        changed = 0
        numbers = [name[2:] for name in fields if name.startswith("b:")]
        # All of them first: a share that moved on is on two numbers, and is erased with the first.
        indexed = [await self._names(number, kind, address) for number in numbers]
        for number, names in zip(numbers, indexed, strict=True):
            p = self._records.partition(number)
            shares, others = await scripts.run(scripts.forget(p, now, number, kind, address, names))
            changed += shares
            for other in others:
                other_kind, _, value = other.partition(":")
                await self._erase(self.key(other_kind, value), number)
        await self._erase(self.key(kind, address), None)
        await self._records.audit(by, "forget", kind, now)
        return changed

    async def _erase(self, key: str, number: str | None) -> None:
        """Take one number off a contact's record, or all; without any number only consent is left of it."""
        fields = await self._records.client_hash(key)
        others = {name for name in fields if name.startswith("b:")} - {f"b:{number}"}
        if number is not None and others:
            gone = [f"b:{number}"]
        else:
            gone = [name for name in fields if not name.startswith("x:")]
        if gone:
            with guard():
                await self._records.client.hdel(key, *gone)

    async def _names(self, number: str, kind: str, address: str) -> list[str]:
        """Under which names this contact's shares of a number are indexed."""
        account = await self._records.client_hash(f"{keys.prefix(self._records.partition(number))}a:{number}")
        shares = await self._records.shares_of(number, account)
        mine = [s for s in shares if s.get(f"a:{kind}") == address]
        return [name.casefold() for s in mine if (name := views.name_of(s, account))]

    async def inbound(self, channel: str, address: str) -> None:
        """A contact wrote to us: WhatsApp's 24 h window is open from now."""
        if channel == "whatsapp":
            await self._note("phone", address, {"wi": str(now_ms())})

    async def missed(self, channel: str, address: str, message_id: str) -> int:
        """A message did not reach this address; how many in a row now, each counted once however often it is told."""
        field = f"f:{channel}"
        with guard():
            known = await self._records.client.hget(self.key(KIND[channel], address), field)
        missed = [*dict.fromkeys([*(known or "").split(), message_id])][-_MISSED_MOST:]
        await self._note(KIND[channel], address, {field: " ".join(missed)})
        return len(missed)

    async def reached(self, channel: str, address: str) -> None:
        """A message arrived: earlier misses are forgotten."""
        await self._records.command("HDEL", self.key(KIND[channel], address), f"f:{channel}")

    async def set_locale(self, chat_id: str, locale: str) -> None:
        """The language of a Telegram chat: sw or en."""
        await self._note("telegram", chat_id, {"loc": locale})

    async def locale(self, chat_id: str) -> str | None:
        """The language a chat chose, if any."""
        fields = await self._records.client_hash(self.key("telegram", chat_id))
        return fields.get("loc")

    async def numbers_of(self, address: str) -> list[str]:
        """Control numbers that a contact is on."""
        fields = await self._records.client_hash(self.key(kind_of(address), address))
        return sorted(name[2:] for name in fields if name.startswith("b:"))

    async def at_send(
        self, channel: str, addresses: Sequence[str], wallets: Sequence[str] | None = None
    ) -> list[tuple[bool, int]]:
        """Per address, just before sending: may it be used, and when did it last write to us (ms, 0 never).

        `wallets` are what each has just paid with, empty if this is no receipt: their next bill shows it first.
        """
        rows = await self._records.commands(
            [("HMGET", self.key(KIND[channel], address), f"x:{channel}", "wi") for address in addresses]
        )
        paid_with = zip(addresses, wallets or (), strict=False)
        with suppress(StoreFull):  # a comfort; the receipt goes out without it
            await self._records.scripts.run_many(
                [self._know(KIND[channel], address, {"w": wallet}) for address, wallet in paid_with if wallet]
            )
        return [(row[0] is None, int(row[1] or 0)) for row in rows]


def _suppression(channel: str, value: str) -> Suppression:
    consent = msgspec.json.decode(value, type=_Consent)
    at = views.moment(str(consent.at))
    assert at is not None  # noqa: S101 - a number always makes a time
    return Suppression(channel, consent.reason, at, consent.proof)
