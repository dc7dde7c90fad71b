"""Many rows in, one outcome for each out, both streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from bot.web.bodies import Limits
from tests.web.conftest import Lonely, Serve, Site, a_share

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def lines(jobs: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(job).encode() + b"\n" for job in jobs)


async def send(site: Site, body: Any, headers: dict[str, str] = NDJSON) -> list[dict[str, Any]]:
    async with site.http.post("/v1/shares/bulk", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) async for line in response.content]


async def test_every_row_has_its_outcome_in_order(site: Site) -> None:
    jobs = [a_share() for _ in range(5)]
    jobs[1]["bill"]["amount"] = "none"
    jobs[3]["customer"]["phone"] = "12"
    outcomes = await send(site, lines(jobs))
    assert [outcome["row"] for outcome in outcomes] == [1, 2, 3, 4, 5]
    assert [outcome["ok"] for outcome in outcomes] == [True, False, True, False, True]
    assert outcomes[0]["id"] == jobs[0]["id"]
    assert outcomes[0]["share"]["number"] == jobs[0]["bill"]["number"]
    assert (outcomes[1]["status"], outcomes[1]["errors"][0]["field"]) == (422, "bill.amount")


async def test_rows_go_into_the_bulk_lane(site: Site) -> None:
    [outcome] = await send(site, lines([a_share()]))
    async with site.http.get(f"/v1/messages/{outcome['share']['messages'][0]}") as response:
        assert (await response.json())["lane"] == "bulk"


async def test_csv_rows_are_told_by_column(site: Site) -> None:
    good, bad = a_share(), a_share()
    header = "id,number,amount,phone,class\n"
    rows = "".join(
        f"{job['id']},{job['bill']['number']},{amount},{job['customer']['phone']},4B\n"
        for job, amount in ((good, "45000"), (bad, "5.5E+13"))
    )
    outcomes = await send(site, (header + rows).encode(), CSV)
    assert [(outcome["ok"], outcome["id"]) for outcome in outcomes] == [
        (True, good["id"]),
        (False, bad["id"]),
    ]
    assert outcomes[1]["errors"][0]["field"] == "amount"


async def test_a_conflict_is_that_rows_alone(site: Site) -> None:
    first, second, third = a_share(), a_share(), a_share()
    second["id"] = first["id"]
    outcomes = await send(site, lines([first, second, third]))
    assert [outcome["status"] for outcome in outcomes] == [202, 409, 202]


async def test_sending_the_file_again_takes_nothing_twice(site: Site) -> None:
    body = lines(a_share() for _ in range(30))
    first, again = await send(site, body), await send(site, body)
    assert {outcome["share"]["repeated"] for outcome in first} == {False}
    assert {outcome["share"]["repeated"] for outcome in again} == {True}
    assert (await site.engine.ledger.stats()).created == 30


async def test_outcomes_come_while_rows_are_still_being_sent(site: Site) -> None:
    seen = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield lines([a_share()])
        await asyncio.wait_for(seen.wait(), 20)
        yield lines([a_share()])

    async with site.http.post("/v1/shares/bulk", data=body(), headers=NDJSON) as response:
        first = json.loads(await response.content.readline())
        assert first["row"] == 1
        seen.set()
        assert json.loads(await response.content.readline())["row"] == 2
        assert await response.content.read() == b""


async def test_a_client_that_reads_only_at_the_end_gets_everything(site: Site) -> None:
    count = 3000
    body = lines({"id": f"x{n}", "unknown": "y" * 200} for n in range(count))
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = (
        "POST /v1/shares/bulk HTTP/1.0\r\nAuthorization: Bearer a-key-with-every-scope\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await asyncio.wait_for(writer.drain(), 60)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert answer.count(b'"ok":false') == count


def test_100_000_rows_are_the_most() -> None:
    assert Limits().bulk_rows == 100_000


async def test_the_row_after_the_last_allowed_one_ends_the_reading(serve: Serve) -> None:
    site = await serve(limits=Limits(bulk_rows=3))
    outcomes = await send(site, lines(a_share() for _ in range(5)))
    assert [outcome["status"] for outcome in outcomes] == [202, 202, 202, 413]
    assert outcomes[-1]["row"] == 4
    assert "at most 3 rows" in outcomes[-1]["errors"][0]["message"]


async def test_when_redis_goes_away_the_last_outcome_says_from_where(lonely: Lonely) -> None:
    site, server = lonely
    gone = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield lines([a_share(), a_share()])
        await asyncio.wait_for(gone.wait(), 20)
        yield lines([a_share(), a_share()])

    async with site.http.post("/v1/shares/bulk", data=body(), headers=NDJSON) as response:
        taken = [json.loads(await response.content.readline()) for _ in range(2)]
        server.process.kill()
        gone.set()
        rest = [json.loads(line) async for line in response.content]
    assert [outcome["status"] for outcome in taken] == [202, 202]
    assert [(outcome["row"], outcome["status"]) for outcome in rest] == [(3, 503)]


async def test_when_redis_is_away_from_the_start_the_whole_answer_is_503(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    async with site.http.post("/v1/shares/bulk", data=lines([a_share()]), headers=NDJSON) as response:
        assert response.status == 503


async def test_too_many_bytes_end_the_reading(serve: Serve) -> None:
    site = await serve(limits=Limits(bulk_bytes=1000))
    async with site.http.post("/v1/shares/bulk", data=b"\n" * 2000, headers=NDJSON) as response:
        assert response.status == 413


async def test_a_sender_that_stalls_is_cut_off(serve: Serve) -> None:
    site = await serve(limits=Limits(bulk_idle_s=0.2))
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield lines([a_share()])
        await asyncio.wait_for(never.wait(), 30)

    async with site.http.post("/v1/shares/bulk", data=body(), headers=NDJSON) as response:
        outcomes = [json.loads(line) async for line in response.content]
    assert [outcome["status"] for outcome in outcomes] == [202, 408]


async def test_a_client_that_leaves_stops_the_work_and_harms_nobody(site: Site) -> None:
    job = a_share()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = "POST /v1/shares/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-key-with-every-scope\r\n"
    head += "Content-Type: application/x-ndjson\r\nContent-Length: 99999\r\n\r\n"
    writer.write(head.encode() + lines([job]))
    assert b"200 OK" in await asyncio.wait_for(reader.readline(), 20)
    writer.transport.abort()
    async with site.http.get(f"/v1/shares/{job['id']}") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"]
)
async def test_another_content_type_is_415_and_names_the_right_ones(site: Site, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    async with site.http.post("/v1/shares/bulk", data=b"{}", headers=headers) as response:
        assert response.status == 415
        assert "application/x-ndjson or text/csv" in (await response.json())["detail"]


async def test_a_header_that_cannot_be_used_is_422_at_once(site: Site) -> None:
    async with site.http.post("/v1/shares/bulk", data=b"id,phone,id\n1,2,3\n", headers=CSV) as response:
        assert response.status == 422
        assert (await response.json())["errors"][0]["field"] == "id"


@pytest.mark.parametrize(
    ("body", "headers"), [(b"", CSV), (b"id,number,amount,phone\n\n", CSV), (b"\n\n", NDJSON)]
)
async def test_a_body_without_a_row_is_refused(site: Site, body: bytes, headers: dict[str, str]) -> None:
    async with site.http.post("/v1/shares/bulk", data=body, headers=headers) as response:
        assert response.status == 422
        assert (await response.json())["errors"][0]["message"] == "holds no row"


async def test_a_refused_object_is_named_by_its_id(site: Site) -> None:
    job = a_share()
    outcomes = await send(site, lines([{**job, "unknown": 1}, {"bill": 1}]))
    assert [(outcome["ok"], outcome.get("id")) for outcome in outcomes] == [(False, job["id"]), (False, None)]
