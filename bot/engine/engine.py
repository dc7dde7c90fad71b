"""The engine: one object through which web, command line, bot and workers reach everything in Redis."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from bot.engine import keys
from bot.engine.api_keys import ApiKeys
from bot.engine.bill_claims import BillClaims
from bot.engine.bills import Bills
from bot.engine.books import Books
from bot.engine.calls import CallBudget
from bot.engine.changes import BillChanges
from bot.engine.checks import Checks
from bot.engine.contacts import Contacts
from bot.engine.control import Channels, News
from bot.engine.creations import Creations
from bot.engine.embedded import EmbeddedServer, start
from bot.engine.events import Events
from bot.engine.leases import Leases
from bot.engine.ledger import Ledger
from bot.engine.live import Live
from bot.engine.messages import Messages
from bot.engine.payments import Payments
from bot.engine.receipts import Receipts, SmsBoard
from bot.engine.records import Records
from bot.engine.replicas import Replicas
from bot.engine.scripts import Scripts
from bot.engine.shares import Shares
from bot.engine.store import Client, check_ready, connect, first, fix_partitions, guard, naming
from bot.engine.suggestions import Suggestions
from bot.engine.sweeps import Sweeps
from bot.engine.tokens import Tokens
from bot.errors import ConfigError
from bot.settings import Settings

# Version of what is stored. A change that an older tuma would misread raises it, and the older one then stops.
# 2: balances that moved on to another number (`mv:`), which a reader of 1 would ask for twice. 3: records without what
# their key says, and jobs of open claims apart. Neither 1 nor 2 was ever released.
FORMAT = 3


async def check_format(records: Records, own: int = FORMAT) -> None:
    """Raise ConfigError if a newer tuma has written records that this one would misread: they are left alone.

    A newer one notes its format in every partition first, where each script of an older one meets it (lua/_lib.lua).
    """
    stored = await first(records.client, keys.FORMAT, own)
    if stored > own:
        raise ConfigError(
            f"this data set has records of format {stored}, this tuma reads up to {own}: start a newer tuma"
        )
    if stored < own:
        with guard():
            for p in range(records.partitions):
                await records.client.set(keys.partition_format(p), own)
            await records.client.set(keys.FORMAT, own)


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything in Redis, by what one does with it. Open it with `Engine.open`, close it with `close`."""

    settings: Settings
    redis: Client
    records: Records
    shares: Shares
    bill_claims: BillClaims
    bills: Bills
    books: Books
    changes: BillChanges
    creations: Creations
    checks: Checks
    live: Live
    messages: Messages
    receipts: Receipts
    sms_board: SmsBoard
    payments: Payments
    suggestions: Suggestions
    contacts: Contacts
    channels: Channels
    events: Events
    news: News
    ledger: Ledger
    api_keys: ApiKeys
    leases: Leases
    tokens: Tokens
    calls: CallBudget
    sweeps: Sweeps
    server: EmbeddedServer | None
    _watch: asyncio.Task[None] | None

    @classmethod
    async def open(cls, settings: Settings) -> Engine:
        """Connect, starting the embedded server if no REDIS_URL is set. Raises ConfigError, StoreUnavailable."""
        server = await start(settings.data_dir) if settings.redis_url is None else None
        client = connect(settings.redis_url or (server.url if server else ""))
        try:
            with naming(settings.redis_url):
                await check_ready(client)
                replicas = Replicas(client, settings.replicas, settings.replica_wait_ms)
                scripts = Scripts(client, replicas, settings.keep_days)
                records = Records(client, scripts, await fix_partitions(client, settings.partitions))
                await check_format(records)
        except BaseException:
            await client.aclose()
            if server:
                await server.release()
            raise
        contacts, control, board = Contacts(records), Channels(records), SmsBoard(records)
        bill_claims = BillClaims(records, settings)
        shares = Shares(records, contacts, bill_claims, settings)
        bills, payments = Bills(records, contacts, settings), Payments(records, settings)
        messages = Messages(records, contacts, control, settings)
        leases = Leases(records.scripts)
        return cls(
            settings=settings,
            redis=client,
            records=records,
            shares=shares,
            bill_claims=bill_claims,
            bills=bills,
            books=Books(records, settings),
            changes=BillChanges(records, settings),
            checks=Checks(records),
            creations=Creations(records, shares, contacts),
            live=Live(records, shares),
            messages=messages,
            receipts=Receipts(records, messages, board, settings),
            sms_board=board,
            payments=payments,
            suggestions=Suggestions(records, bills, contacts, payments, settings),
            contacts=contacts,
            channels=control,
            events=Events(records),
            news=News(records),
            ledger=Ledger(records),
            api_keys=ApiKeys(client, settings.api_keys),
            leases=leases,
            tokens=Tokens(client, leases),
            calls=CallBudget(
                client, records.scripts, settings.clickpesa_per_minute, settings.clickpesa_per_day
            ),
            sweeps=Sweeps(records, settings.payments_known_within_s),
            server=server,
            _watch=asyncio.create_task(server.watch()) if server else None,
        )

    @property
    def partitions(self) -> int:
        """How many partitions this data set has."""
        return self.records.partitions

    async def announce_bot(self, username: str) -> None:
        """Tell every process under which user name the bot can be found, for deep links."""
        with guard():
            await self.records.client.set(keys.BOT_USERNAME, username)

    async def close(self) -> None:
        """Disconnect; the last user stops the embedded server."""
        await self.live.close()
        await self.records.scripts.close()
        await self.redis.aclose()
        if self._watch:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self.server:
            await self.server.release()
