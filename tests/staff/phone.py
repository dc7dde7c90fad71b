"""A person's phone with the Telegram app on it, against the sandbox's Bot API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bot.sandbox.city import Sandbox
from bot.sandbox.world import Message


@dataclass
class Phone:
    """What one person writes, presses and sees."""

    city: Sandbox
    chat: int

    @property
    def messages(self) -> list[Message]:
        """The bot's messages in this chat, as they read now."""
        shown = self.city.telegram.chats.of(self.chat).messages.values()
        return [message for message in shown if message.outgoing]

    @property
    def last(self) -> Message:
        return self.messages[-1]

    @property
    def text(self) -> str:
        """Everything the bot has on the screen."""
        return "\n".join(message.text for message in self.messages)

    @property
    def toast(self) -> str:
        return str((self.city.telegram.chats.of(self.chat).toast or {}).get("text", ""))

    @property
    def labels(self) -> list[str]:
        """The buttons under the last message."""
        return [button["text"] for button in self.buttons()]

    def buttons(self) -> list[dict[str, Any]]:
        return [button for row in self.last.extra.get("keyboard", []) for button in row]

    async def says(self, text: str) -> str:
        """Write to the bot and wait for its answer."""
        before = len(self.messages)
        self.city.telegram.chats.write(self.chat, text)
        await self.city.world.until(lambda: len(self.messages) > before)
        return self.last.text

    async def starts(self, payload: str = "") -> str:
        """Press Start and wait for the answer."""
        before = len(self.messages)
        self.city.telegram.chats.start(self.chat, payload)
        await self.city.world.until(lambda: len(self.messages) > before)
        return self.last.text

    def tap(self, label: str) -> None:
        """Press the newest button whose text holds `label`, without waiting."""
        for message in reversed(self.messages):
            for button in (b for row in message.extra.get("keyboard", []) for b in row):
                if label in button["text"] and "callback_data" in button:
                    self.city.telegram.chats.press(self.chat, int(message.id), button["callback_data"])
                    return
        raise LookupError(f"no button {label!r}")

    async def presses(self, label: str, *, sees: str = "") -> str:
        """Press a button; wait until it was answered, and until `sees` is on the screen."""
        self.city.telegram.chats.of(self.chat).toast = None
        waiting = set(self.city.telegram.chats.pressed)
        self.tap(label)
        await self.city.world.until(lambda: set(self.city.telegram.chats.pressed) <= waiting)
        await self.sees(sees)
        return self.text

    async def forges(self, data: str) -> None:
        """Press a button with any data, as a forged client could, and wait until it was answered."""
        self.city.telegram.chats.of(self.chat).toast = None
        self.last.extra.setdefault("keyboard", []).append([{"text": "forged", "callback_data": data}])
        self.city.telegram.chats.press(self.chat, int(self.last.id), data)
        await self.city.world.until(lambda: not self.city.telegram.chats.pressed)

    async def sees(self, text: str) -> None:
        """Wait until `text` is somewhere in the chat, or in the toast."""
        try:
            await self.city.world.until(lambda: text in self.text or text in self.toast)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in:\n{self.text}\n[{self.toast}]") from None


async def eventually(holds: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = 10.0) -> None:
    """Wait until a predicate holds that no change of the sandbox announces."""
    async with asyncio.timeout(timeout_s):
        while True:
            said = holds()
            if said if isinstance(said, bool) else await said:
                return
            await asyncio.sleep(0.01)
