from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from aiohttp import web

from bot.billpay.client import ClickPesa
from bot.billpay.errors import (
    ClickPesaAway,
    ClickPesaDenied,
    ClickPesaError,
    ClickPesaRefused,
    ClickPesaThrottled,
)
from bot.billpay.tokens import ProcessTokens
from tests.billpay.servers import API_KEY, Server, payment
from tests.conftest import free_port


async def test_the_payments_of_a_number_are_listed_oldest_first(server: Server, client: ClickPesa) -> None:
    later = payment("B", "N1", createdAt="2026-11-03T08:15:30Z")
    server.listed["N1"] = [later, payment("A", "N1")]
    first, second = await client.payments("N1")
    assert (first.ids, second.ids) == (("A", "ref-A"), ("B", "ref-B"))
    assert (first.amount, first.source, first.number) == (Decimal(12500), "list", "N1")


async def test_a_number_that_nobody_paid_has_no_payments(client: ClickPesa) -> None:
    assert await client.payments("N1") == []


async def test_one_bare_payment_is_read_too(server: Server, client: ClickPesa) -> None:
    server.valid.add("any")
    await client.payments("N1")
    server.answers = [web.json_response(payment("A", "N1"))]
    assert [event.ids[0] for event in await client.payments("N1")] == ["A"]


async def test_a_payment_that_cannot_be_read_does_not_hide_the_others(
    server: Server, client: ClickPesa
) -> None:
    server.listed["N1"] = [{"status": "SETTLED"}, payment("A", "N1")]
    assert [event.ids[0] for event in await client.payments("N1")] == ["A"]


async def test_a_reference_cannot_leave_its_place_in_the_address(server: Server, client: ClickPesa) -> None:
    assert await client.payments("../payments/N1?x=1") == []
    assert server.calls["payments ../payments/N1?x=1"] == 1


async def test_the_list_of_all_payments_is_never_taken_for_a_number(
    server: Server, client: ClickPesa
) -> None:
    assert await client.payments("all") == []
    assert not server.calls


async def test_the_token_is_fetched_once_for_many_callers(server: Server, client: ClickPesa) -> None:
    await asyncio.gather(*(client.payments(f"N{n}") for n in range(8)))
    await client.payments("N9")
    assert server.calls["token"] == 1


async def test_the_token_is_shared_between_clients(server: Server) -> None:
    tokens = ProcessTokens()
    async with server.client(token_cache=tokens) as one, server.client(token_cache=tokens) as other:
        await one.payments("N1")
        await other.payments("N1")
    assert server.calls["token"] == 1


async def test_a_token_that_ended_early_is_fetched_anew(server: Server, client: ClickPesa) -> None:
    await client.payments("N1")
    server.valid.clear()
    server.listed["N1"] = [payment("A", "N1")]
    assert len(await client.payments("N1")) == 1
    assert server.calls["token"] == 2


async def test_callers_whose_token_ended_share_the_new_one(server: Server, client: ClickPesa) -> None:
    await client.payments("N1")
    server.valid.clear()
    await asyncio.gather(*(client.payments("N1") for _ in range(5)))
    assert server.calls["token"] == 2


async def test_a_token_that_is_never_accepted_is_denied_after_one_new_try(
    server: Server, client: ClickPesa
) -> None:
    server.answers = [web.json_response({"message": "Unauthorized"}, status=401) for _ in range(2)]
    with pytest.raises(ClickPesaDenied, match="401: Unauthorized"):
        await client.payments("N1")
    assert server.calls["token"] == 2


async def test_a_token_without_its_scheme_gets_it(server: Server, client: ClickPesa) -> None:
    server.scheme = ""
    assert await client.payments("N1") == []


async def test_a_token_runs_out() -> None:
    tokens = ProcessTokens()
    await tokens.set("a", "one", 60)
    await tokens.set("b", "two", 0)
    assert (await tokens.get("a"), await tokens.get("b"), await tokens.get("c")) == ("one", None, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ClickPesaRefused),
        (403, ClickPesaDenied),
        (409, ClickPesaRefused),
        (429, ClickPesaThrottled),
        (500, ClickPesaAway),
        (503, ClickPesaAway),
        (302, ClickPesaAway),
    ],
)
async def test_each_status_is_its_own_error_with_clickpesas_words(
    server: Server, client: ClickPesa, status: int, kind: type[ClickPesaError]
) -> None:
    server.answers = [web.json_response({"message": "Samahani"}, status=status)]
    with pytest.raises(kind, match=f"{status}: Samahani") as raised:
        await client.payments("N1")
    assert raised.value.status == status


async def test_the_wait_that_clickpesa_asks_for_is_told(server: Server, client: ClickPesa) -> None:
    server.answers = [web.json_response({}, status=429, headers={"Retry-After": "7"})]
    with pytest.raises(ClickPesaThrottled) as raised:
        await client.payments("N1")
    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("body", ["", "<html>", "[", "[1]"])
async def test_an_error_without_a_message_is_still_an_error(
    server: Server, client: ClickPesa, body: str
) -> None:
    server.answers = [web.Response(text=body, status=500)]
    with pytest.raises(ClickPesaAway, match="Internal Server Error"):
        await client.payments("N1")


async def test_an_answer_that_is_no_json_is_no_answer(server: Server, client: ClickPesa) -> None:
    server.answers = [web.Response(text="<html>maintenance</html>")]
    with pytest.raises(ClickPesaAway, match="not JSON"):
        await client.payments("N1")


async def test_errors_mask_phones_that_clickpesa_names(server: Server, client: ClickPesa) -> None:
    server.answers = [web.json_response({"message": "255712000001 is not allowed"}, status=400)]
    with pytest.raises(ClickPesaRefused) as raised:
        await client.payments("N1")
    assert "255712000001" not in str(raised.value)


async def test_a_server_that_is_not_there_is_away() -> None:
    async with ClickPesa(f"http://127.0.0.1:{free_port()}/third-parties", "id", "key") as client:
        with pytest.raises(ClickPesaAway, match="no answer: ConnectError"):
            await client.payments("N1")


async def test_a_probe_finds_good_credentials_good(client: ClickPesa) -> None:
    probe = await client.probe()
    assert (probe.ok, probe.detail) == (True, "reachable, credentials accepted")


async def test_a_probe_says_what_is_wrong_with_credentials_and_never_shows_them(server: Server) -> None:
    async with server.client(api_key="wrong-key") as client:
        probe = await client.probe()
    assert not probe.ok
    assert "Invalid or Expired API-Key" in probe.detail
    assert "CLICKPESA_API_KEY" in probe.hints[0]
    assert "wrong-key" not in f"{probe}"


async def test_a_probe_tells_of_a_server_that_is_not_there() -> None:
    async with ClickPesa(f"http://127.0.0.1:{free_port()}", "id", API_KEY) as client:
        assert not (await client.probe()).ok
