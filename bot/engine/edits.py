"""Giving a share's contact another address.

The share and its account change in one script. The contacts on both sides live elsewhere, so the order is that of
accepting a share: the new contact's index first, then the share, then consent once more. An opt-out that comes at any
moment either is read here or finds the number in the index, and nothing is missed. The old address is marked in the
account until it is off its contact's index; what a crash left marked, the next edit of that number clears.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bot.domain.bill import ShareContact
from bot.domain.share import Customer
from bot.engine import keys, views
from bot.engine.contacts import Contacts, addresses
from bot.engine.records import Records
from bot.engine.scripts import now_ms, text
from bot.engine.views import KIND
from bot.errors import NotFound, Problem, Refused

_NOBODY = Customer(name=None, phone=None, email=None, telegram=None, locale="")


class ContactEdits:
    """Edits contacts of shares."""

    def __init__(self, records: Records, contacts: Contacts) -> None:
        self._records, self._contacts = records, contacts

    async def edit(self, number: str, sid: str, given: Customer) -> ShareContact:
        """Put the given addresses in place of those of their kind. Raises NotFound, Refused."""
        if not addresses(given):
            raise Refused(Problem(field="$", message="names no address", expected="phone, email or telegram"))
        p, scripts = self._records.partition(number), self._records.scripts
        before = await self._consent(given)
        new = [*addresses(given), *_linked(given, before)]
        await self._contacts.index((number, kind, address) for kind, address in new)
        reply = await scripts.run(scripts.edit_contact(p, now_ms(), sid, _edit(given, before)))
        marked: list[tuple[str, str]] = []
        if reply[0] == "ok":
            await self._catch_up(number, sid, given, before)
            marked = [*zip(reply[1::2], reply[2::2], strict=True)]
        # Of what was put into the index above, too, only what the share took stays there.
        for kind, address in dict.fromkeys([*marked, *new]):
            await self._give_up(number, kind, address)
        if reply[0] == "unknown":
            raise NotFound("no such share")
        if reply[0] == "refused":
            raise Refused(Problem(field=reply[1], message="is another contact's of this number"))
        return views.share_contact(p, await self._records.share(p, sid))

    async def _consent(self, given: Customer) -> dict[str, str]:
        [found] = await self._contacts.read([given])
        return found

    async def _catch_up(self, number: str, sid: str, given: Customer, before: Mapping[str, str]) -> None:
        """Apply what became of consent, or of a link, since `before` was read."""
        after, scripts = await self._consent(given), self._records.scripts
        p = self._records.partition(number)
        at = dict([*addresses(given), *_linked(given, before)])
        for channel, kind in KIND.items():
            then, now = before.get(f"x:{channel}"), after.get(f"x:{channel}")
            if kind in at and then != now:
                await scripts.run(scripts.suppress(p, now_ms(), number, channel, at[kind], text(now)))
        if after.get("chat") and not before.get("chat") and not given.telegram:
            share = await self._records.share(p, sid)
            if not share.get("a:telegram"):
                await self._contacts.join(number, sid, after["chat"])

    async def _give_up(self, number: str, kind: str, address: str) -> None:
        """Take an address off the number, unless one of its shares has it."""
        p, scripts = self._records.partition(number), self._records.scripts
        if not await scripts.run(scripts.give_up(p, number, kind, address, sure=False)):
            return
        await self._contacts.unindex(number, kind, address)
        if await scripts.run(scripts.give_up(p, number, kind, address, sure=True)):
            return
        # A share with this address was accepted meanwhile: back under its contact, and what that missed with it.
        await self._contacts.index([(number, kind, address)])
        owner = msgspec.structs.replace(_NOBODY, **{kind: address})
        for field, reason in (await self._consent(owner)).items():
            if field.startswith("x:") and KIND[field[2:]] == kind:
                await scripts.run(scripts.suppress(p, now_ms(), number, field[2:], address, reason))


def _linked(given: Customer, consent: Mapping[str, str]) -> list[tuple[str, str]]:
    """The chat that the new addresses are linked to, if no other is given."""
    return [("telegram", consent["chat"])] if consent.get("chat") and not given.telegram else []


def _edit(given: Customer, consent: Mapping[str, str]) -> dict[str, object]:
    return {
        "phone": text(given.phone),
        "email": text(given.email),
        "telegram": text(given.telegram),
        "chat": "" if given.telegram else consent.get("chat", ""),
        "link": keys.fresh_secret(),
        "suppressed": {name[2:]: why for name, why in consent.items() if name.startswith("x:")},
    }
