"""Telegram's webhook: the secret is asked for, and an update is answered when it is handled."""

from __future__ import annotations

from typing import Any

import pytest

from bot.errors import StoreUnavailable
from tests.web.conftest import Serve, Site

SECRET = "a-webhook-secret"
UPDATE = {"update_id": 1, "message": {"text": "/start"}}


class Updates(list[dict[str, Any]]):
    """Keeps updates; breaks with `error` if there is one."""

    error: Exception | None = None

    async def __call__(self, update: dict[str, Any]) -> None:
        if self.error:
            raise self.error
        self.append(update)


async def start(serve: Serve, updates: Updates | None, secret: str | None = SECRET) -> Site:
    return await serve(updates, telegram_webhook_secret=secret, telegram_updates="webhook")


async def post(site: Site, secret: str | None, body: Any = UPDATE) -> int:
    headers = {} if secret is None else {"X-Telegram-Bot-Api-Secret-Token": secret}
    async with site.stranger.post("/webhooks/telegram", json=body, headers=headers) as response:
        return response.status


async def test_an_update_with_the_secret_is_handed_on(serve: Serve) -> None:
    updates = Updates()
    assert await post(await start(serve, updates), SECRET) == 200
    assert updates == [UPDATE]


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "\udcff"])
async def test_an_update_without_the_secret_is_403(serve: Serve, secret: str | None) -> None:
    updates = Updates()
    assert await post(await start(serve, updates), secret) == 403
    assert updates == []


@pytest.mark.parametrize("secret", [None, "", "anything"])
async def test_without_a_secret_set_nothing_is_taken(serve: Serve, secret: str | None) -> None:
    updates = Updates()
    assert await post(await start(serve, updates, None), secret) == 403
    assert updates == []


async def test_while_updates_are_polled_the_address_does_not_exist(serve: Serve) -> None:
    assert await post(await start(serve, None), SECRET) == 404


async def test_an_update_that_could_not_be_handled_comes_again(serve: Serve) -> None:
    updates = Updates()
    site = await start(serve, updates)
    updates.error = StoreUnavailable("away")
    assert await post(site, SECRET) == 503
    updates.error = RuntimeError("a fault of ours")
    assert await post(site, SECRET) == 500


async def test_what_is_no_update_is_400(serve: Serve) -> None:
    assert await post(await start(serve, Updates()), SECRET, [1, 2]) == 400
