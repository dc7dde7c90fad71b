"""Events reach the producer signed, in order, again when they did not arrive, and never a private address."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from bot.engine.scripts import now_ms
from bot.errors import ConfigError
from bot.web.callbacks import Deliverer, backoff, sign
from tests.engine.conftest import paid
from tests.web.conftest import Serve, Site, redis_keys, shared

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


class Producer:
    """Somebody's server: keeps what is posted, answers `statuses` in turn, then 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers=self.headers)

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.requests]


@pytest.fixture
async def producer() -> AsyncIterator[tuple[Producer, str]]:
    made = Producer()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.take)
    running = web.AppRunner(app)
    await running.setup()
    await web.TCPSite(running, "127.0.0.1", 0).start()
    yield made, f"http://127.0.0.1:{running.addresses[0][1]}/hook"
    await running.cleanup()


@asynccontextmanager
async def delivering(site: Site) -> AsyncIterator[None]:
    """A deliverer at work; told to stop at the end, and then it must."""
    stop = asyncio.Event()
    task = asyncio.create_task(Deliverer(site.engine, site.settings).run(stop))
    yield
    stop.set()
    await asyncio.wait_for(task, 20)


async def until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


async def pay(site: Site, url: str, number: str = "660011", *amounts: str) -> None:
    """A customer number with a callback, and payments on it."""
    await shared(site, bill={"number": number, "kind": "customer", "amount": "45000"}, callback_url=url)
    for amount in amounts or ("45000",):
        await site.engine.payments.settle(paid(number, amount))


async def open_site(serve: Serve, **changes: Any) -> Site:
    return await serve(**{"callback_secret": SECRET, "callback_private": True, **changes})


async def test_an_event_arrives_and_standard_webhooks_believes_it(
    serve: Serve, producer: tuple[Producer, str]
) -> None:
    made, url = producer
    site = await open_site(serve)
    await pay(site, url)
    async with delivering(site):
        await until(lambda: bool(made.requests))
    headers, body = made.requests[0]
    event = Webhook(SECRET).verify(body, headers)
    assert event["type"] == "payment.received"
    assert event["data"]["number"] == "660011"
    assert headers["Content-Type"] == "application/json"


async def test_a_changed_body_is_not_believed(serve: Serve, producer: tuple[Producer, str]) -> None:
    made, url = producer
    site = await open_site(serve)
    await pay(site, url)
    async with delivering(site):
        await until(lambda: bool(made.requests))
    headers, body = made.requests[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"45000", b"99999"), headers)


async def test_the_events_of_a_number_arrive_in_order_and_once(
    serve: Serve, producer: tuple[Producer, str]
) -> None:
    made, url = producer
    site = await open_site(serve)
    await pay(site, url, "660012", "1000", "2000", "3000", "39000")
    async with delivering(site):
        await until(lambda: len(made.requests) >= 4)
    amounts = [json.loads(body)["data"]["amount"] for _, body in made.requests]
    assert amounts == ["1000", "2000", "3000", "39000"]
    assert len({headers["webhook-id"] for headers, _ in made.requests}) == 4


@pytest.mark.parametrize("status", [500, 404, 410, 301, 302, 307, 199 + 200])
async def test_what_is_not_2xx_is_tried_again_and_those_behind_wait(
    serve: Serve, producer: tuple[Producer, str], status: int
) -> None:
    made, url = producer
    made.statuses, made.headers = [status], {"Location": url + "/elsewhere"}
    site = await open_site(serve)
    await pay(site, url, "660013", "1000", "2000")
    async with delivering(site):
        await until(lambda: len(made.requests) == 1)
        await until_due(site, "660013")
        await make_due(site, "660013")
        await until(lambda: len(made.requests) == 3)
    ids = [headers["webhook-id"] for headers, _ in made.requests]
    assert ids[0] == ids[1] != ids[2]


async def due_key(site: Site, number: str) -> tuple[str, float] | None:
    for key in await redis_keys(site, "tuma:*cbdue"):
        score = await site.engine.redis.zscore(key, number)
        if score is not None:
            return key, score
    return None


async def until_due(site: Site, number: str) -> float:
    """Wait until a retry is planned; in how many seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = await due_key(site, number)
        wait_s = (found[1] - now_ms()) / 1000 if found else 0
        if 0.5 < wait_s < 55:  # neither due from the start nor leased for a minute
            return wait_s
        await asyncio.sleep(0.02)
    raise AssertionError("no retry was planned")


async def make_due(site: Site, number: str) -> None:
    found = await due_key(site, number)
    assert found is not None
    await site.engine.redis.zadd(found[0], {number: 0})


async def test_the_receiver_may_ask_for_more_time(serve: Serve, producer: tuple[Producer, str]) -> None:
    made, url = producer
    made.statuses, made.headers = [503], {"Retry-After": "40"}
    site = await open_site(serve)
    await pay(site, url, "660014")
    async with delivering(site):
        await until(lambda: len(made.requests) == 1)
        assert await until_due(site, "660014") > 20


async def test_a_private_address_is_refused(serve: Serve, producer: tuple[Producer, str]) -> None:
    made, url = producer
    site = await open_site(serve)
    await pay(site, url, "660015")
    async with delivering(replace(site, settings=replace(site.settings, callback_private=False))):
        await until_due(site, "660015")
    assert made.requests == []


async def test_nothing_goes_out_unsigned(serve: Serve, producer: tuple[Producer, str]) -> None:
    made, url = producer
    site = await open_site(serve, callback_secret=None)
    await pay(site, url, "660016")
    async with delivering(site):
        await until_due(site, "660016")
    assert made.requests == []


async def test_a_producer_is_told_that_no_event_goes_out_unsigned(serve: Serve) -> None:
    for number, secret in (("660018", None), ("660019", SECRET)):
        site = await open_site(serve, callback_secret=secret)
        for _ in range(2):  # a repeated job gets the same answer
            bill = {"number": number, "amount": "45000"}
            who = {"phone": "+255754660018"}
            taken = await shared(
                site, id=number, bill=bill, customer=who, callback_url="https://shop.example/hook"
            )
            warnings = taken["warnings"]
            assert any("TUMA_CALLBACK_SECRET" in each for each in warnings) == (secret is None)


async def test_a_receiver_that_is_not_there_is_tried_again(serve: Serve) -> None:
    site = await open_site(serve)
    await pay(site, "http://127.0.0.1:1/hook", "660017")
    async with delivering(site):
        assert await until_due(site, "660017") > 1


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_###", "whsec_c2hvcnQ=", "c2hvcnQgYnV0IGxvbmcgZW5vdWdo"]
)
async def test_a_secret_that_is_no_key_is_a_config_error(serve: Serve, secret: str) -> None:
    site = await serve(callback_secret=secret or "x")
    with pytest.raises(ConfigError, match="TUMA_CALLBACK_SECRET"):
        Deliverer(site.engine, site.settings)


def test_the_signature_is_that_of_the_specification() -> None:
    # Source: the example in the Standard Webhooks specification's libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_each_try_waits_longer_up_to_six_hours() -> None:
    waits = [backoff(attempt) for attempt in range(1, 17)]
    assert 5 <= waits[0] <= 5.5
    assert all(later >= earlier * 0.9 for earlier, later in itertools.pairwise(waits))
    assert 21_600 <= waits[-1] <= 23_760
