"""Bills by number, by whatever staff remember of them, and by the chat they are linked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bot.domain.bill import BillView
from bot.domain.contact import BadPhone, phone
from bot.domain.money import plain
from bot.engine import keys, views
from bot.engine.contacts import Contacts
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.store import guard
from bot.engine.views import BillHit
from bot.errors import NotFound, no_bill
from bot.settings import Settings

# A look holds the server up for about a millisecond.
_NAMES_A_LOOK = 2000


class Bills:
    """The accounts of all partitions."""

    def __init__(self, records: Records, contacts: Contacts, settings: Settings) -> None:
        self._records, self._contacts, self._settings = records, contacts, settings

    async def get(self, number: str) -> BillView:
        """All that is known of one control number. Raises NotFound."""
        return await self._view(number, None)

    async def _view(self, number: str, chat: str | None) -> BillView:
        account = await self._records.account(number)
        shares, payments = await asyncio.gather(
            self._records.shares_of(number, account), self._records.payments_of(number)
        )
        if chat and shares and chat not in (share.get("a:telegram") for share in shares):
            raise NotFound(f"no bill of this chat with number {number}")
        return views.bill(number, account, shares, payments)

    async def stop(self, number: str, *, by: str) -> int:
        """Ask for nothing more under this number; messages cancelled. Raises NotFound."""
        now, scripts = now_ms(), self._records.scripts
        canceled = await scripts.run_kept(scripts.stop(self._records.partition(number), now, number, by))
        if canceled < 0:
            raise no_bill(number)
        await self._records.audit(by, "stop", number, now)
        return canceled

    async def search(self, words: str, limit: int = 10) -> list[BillHit]:
        """Bills by number, share id, phone or part of a name, the best match first."""
        words = words.strip()
        if not words:
            return []
        numbers = await self._exact(words) or await self.named(words, limit)
        return await self.hits(list(dict.fromkeys(numbers))[:limit])

    async def numbers(self) -> AsyncIterator[str]:
        """Every control number on record, each once; a scan of the data set."""
        for p in range(self._records.partitions):
            start = f"{keys.prefix(p)}a:"
            with guard():
                found = {
                    key async for key in self._records.client.scan_iter(match=keys.pattern(start), count=1000)
                }
            for key in sorted(found):
                yield key.removeprefix(start)

    async def of_chat(self, chat_id: str) -> list[BillView]:
        """Bills linked to a Telegram chat, as their shares say: the index may run ahead of them or lag behind."""
        found = []
        for number in await self._contacts.numbers_of(chat_id):
            try:
                found.append(await self._view(number, chat_id))
            except NotFound:
                continue
        return found

    async def _exact(self, words: str) -> list[str]:
        if await self._known(words):
            return [words]
        claim = await self._records.claim(words)
        if claim:
            return [claim["num"]]
        if "@" in words:
            return await self._contacts.numbers_of(words)
        try:
            return await self._contacts.numbers_of(phone(words, self._settings.region))
        except BadPhone:
            return []

    async def _known(self, number: str) -> bool:
        with guard():
            return bool(
                await self._records.client.exists(f"{keys.prefix(self._records.partition(number))}a:{number}")
            )

    async def named(self, words: str, limit: int) -> list[str]:
        """Numbers whose customer's name holds these words; a look through all names."""
        words = words.strip().casefold()
        if not words:
            return []
        found: dict[str, None] = {}
        scripts = self._records.scripts
        for p in range(self._records.partitions):
            start, looked = 0, _NAMES_A_LOOK
            while looked == _NAMES_A_LOOK:
                looked, numbers = await scripts.run(scripts.named(p, words, start, _NAMES_A_LOOK, limit))
                found.update(dict.fromkeys(numbers))
                start += looked
                if len(found) >= limit:
                    return list(found)[:limit]
        return list(found)

    async def hits(self, numbers: list[str]) -> list[BillHit]:
        """One line for each of these numbers that exists."""
        accounts = await self._records.hashes(
            [f"{keys.prefix(self._records.partition(number))}a:{number}" for number in numbers]
        )
        return [await self._hit(n, a) for n, a in zip(numbers, accounts, strict=True) if a]

    async def _hit(self, number: str, account: dict[str, str]) -> BillHit:
        shares = await self._records.shares_of(number, account)
        owed = sum(views.balance(account, term) for term in views.terms_of(account))
        return BillHit(
            number=number,
            name=views.customer(account, shares),
            status=views.status(account),
            balance=plain(owed, account["cur"]),
            currency=account["cur"],
        )
