"""What the bot itself remembers between two updates, in Redis, so that any process can go on where another stopped.

Nothing about bills or people is kept here; losing all of it costs an open dialogue and nothing else. Every key
starts `tuma:bot:<bot id>:`, so two bots never share one.

    fsm:<bot>:<chat>:<user>:<destiny>:state|data   string  an open /share dialogue, 15 minutes
    poller                                         string  which process fetches updates, 10 s, renewed
    update:<id>                                    string  an update that was handled, 1 day
    press:<chat>:<message>:<data>                  string  the press on which a button acted, 10 s
    commands                                       set     chats that have a staff command list
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from aiogram.fsm.storage.base import DefaultKeyBuilder
from aiogram.fsm.storage.redis import RedisStorage
from redis.asyncio import Redis

from bot.engine.store import Client, guard

DIALOGUE_S = 15 * 60
LEASE_S = 10
_HANDLED_S = 86_400
_PRESS_S = 10


class Memory:
    """The bot's own keys. Everything here raises StoreUnavailable when Redis is away."""

    def __init__(self, client: Client, bot_id: int) -> None:
        self._client, self._prefix = client, f"tuma:bot:{bot_id}"

    def storage(self) -> RedisStorage:
        """Where dialogues wait for their next answer."""
        builder = DefaultKeyBuilder(prefix=f"{self._prefix}:fsm", with_bot_id=True, with_destiny=True)
        # A cluster client has the same three commands (get, set, delete) that the storage uses.
        return RedisStorage(cast(Redis, self._client), builder, state_ttl=DIALOGUE_S, data_ttl=DIALOGUE_S)

    async def lead(self, who: str) -> bool:
        """Be, or stay, the one process that fetches updates. Telegram cuts off the first of two that poll."""
        key = f"{self._prefix}:poller"
        with guard():
            if await self._client.set(key, who, nx=True, ex=LEASE_S):
                return True
            return await self._client.get(key) == who and bool(await self._client.expire(key, LEASE_S))

    async def step_down(self, who: str) -> None:
        """Let another process fetch updates at once."""
        key = f"{self._prefix}:poller"
        with guard():
            if await self._client.get(key) == who:
                await self._client.delete(key)

    async def handled(self, update_id: int) -> bool:
        """Whether this update was handled before: it comes again after a crash or a slow webhook answer."""
        with guard():
            return bool(await self._client.exists(f"{self._prefix}:update:{update_id}"))

    async def remember(self, update_id: int) -> None:
        """Note that an update was handled."""
        with guard():
            await self._client.set(f"{self._prefix}:update:{update_id}", "1", ex=_HANDLED_S)

    async def first_press(self, chat: int, message: int, data: str, press: str) -> bool:
        """Whether this is the first press of an acting button: thumbs press twice. `press` is the press's own id,
        by which an update that is handled again after a fault counts as the first still.
        """
        key = f"{self._prefix}:press:{chat}:{message}:{data}"
        with guard():
            return bool(
                await self._client.set(key, press, nx=True, ex=_PRESS_S)
                or await self._client.get(key) == press
            )

    async def staff_chats(self) -> set[int]:
        """Chats that were given a staff command list."""
        with guard():
            return {int(chat) for chat in await self._client.smembers(f"{self._prefix}:commands")}

    async def keep_staff_chats(self, chats: Iterable[int]) -> None:
        """Note which chats have a staff command list now."""
        key, wanted = f"{self._prefix}:commands", [str(chat) for chat in chats]
        with guard():
            await self._client.delete(key)
            if wanted:
                await self._client.sadd(key, *wanted)
