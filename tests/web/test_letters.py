"""Dead letters over HTTP: seen, mended, sent again."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.engine.endings import INVALID, REFUSED, TEMPLATE, end, hold, take
from tests.web.conftest import Lonely, Site, shared

SMS = {"mode": "all", "channels": ["sms"]}


async def dead(site: Site, result: dict[str, str] = REFUSED, **changes: Any) -> dict[str, Any]:
    """A share whose one message ended that way; what the share answered."""
    answer = await shared(site, **{"route": SMS, **changes})
    await end(site.engine, result)
    return answer


async def ask(site: Site, method: str, path: str, status: int = 200, **given: Any) -> dict[str, Any]:
    """The answer to a request with the key, which must have that status."""
    async with site.http.request(method, path, **given) as response:
        assert response.status == status, await response.text()
        body: dict[str, Any] = await response.json()
        return body


async def test_a_dead_letter_is_listed_with_its_reason_and_what_would_mend_it(site: Site) -> None:
    answer = await dead(site, INVALID)
    page = await ask(site, "GET", "/v1/dead")
    [letter] = page["letters"]
    assert (page["total"], letter["id"], letter["share"]) == (1, answer["messages"][0], answer["id"])
    assert (letter["cause"], letter["error"]) == ("address", INVALID["err"])
    assert letter["hint"] == "edit the contact of the share, then replay"
    assert letter["to"].startswith("+255•••")


async def test_the_list_is_filtered_and_paged(site: Site) -> None:
    wrong = [await dead(site, TEMPLATE) for _ in range(3)]
    other = await dead(site)
    assert (await ask(site, "GET", "/v1/dead?reason=template&limit=2&offset=2"))["total"] == 3
    for query in (f"number={other['number']}", f"share={other['id']}", "reason=too%20long"):
        assert [one["id"] for one in (await ask(site, "GET", f"/v1/dead?{query}"))["letters"]] == other[
            "messages"
        ]
    page = await ask(site, "GET", "/v1/dead?limit=1&offset=1&channel=sms&kind=instructions")
    assert ([one["id"] for one in page["letters"]], page["total"]) == (wrong[2]["messages"], 4)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("channel=pigeon", "channel"),
        ("kind=letter", "kind"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
        ("colour=blue", "colour"),
    ],
)
async def test_a_query_that_is_wrong_is_named(site: Site, query: str, field: str) -> None:
    body = await ask(site, "GET", f"/v1/dead?{query}", status=422)
    assert [error["field"] for error in body["errors"]] == [field]


async def test_one_is_replayed_once(site: Site) -> None:
    [message] = (await dead(site))["messages"]
    first = await ask(site, "POST", f"/v1/messages/{message}/replay")
    assert first == await ask(site, "POST", f"/v1/messages/{message}/replay")
    assert (first["message"], first["outcome"]) == (message, "replayed")
    view = await ask(site, "GET", f"/v1/messages/{message}")
    assert view["replayed_as"] == first["replayed_as"]
    assert len(await take(site.engine)) == 1


async def test_many_are_replayed_by_id(site: Site) -> None:
    ids = [(await dead(site))["messages"][0] for _ in range(3)]
    done = await ask(site, "POST", "/v1/dead/replay", json={"ids": ids[:2]})
    assert (done["replayed"], done["closed"], done["refused"], done["next"]) == (2, 0, 0, None)
    assert [letter["message"] for letter in done["letters"]] == ids[:2]
    assert (await ask(site, "GET", "/v1/dead"))["total"] == 1


async def test_many_are_replayed_by_filter_in_bounded_runs(site: Site) -> None:
    for _ in range(3):
        await dead(site, TEMPLATE)
    await dead(site)
    body = {"filter": {"reason": "template"}, "limit": 2}
    first = await ask(site, "POST", "/v1/dead/replay", json=body)
    second = await ask(site, "POST", "/v1/dead/replay", json={**body, "after": first["next"]})
    assert (first["replayed"], second["replayed"], second["next"]) == (2, 1, None)
    assert (await ask(site, "GET", "/v1/dead"))["total"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "$"),
        ({"ids": ["x"], "filter": {}}, "$"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * 10_001}, "ids"),
        ({"ids": ["x"], "limit": 5}, "ids"),
        ({"ids": "x"}, "ids"),
        ({"filter": {"channel": "pigeon"}}, "filter.channel"),
        ({"filter": {"chanel": "sms"}}, "filter.chanel"),
        ({"filter": {}, "limit": 10_001}, "limit"),
        ({"filter": {}, "after": "x"}, "after"),
    ],
)
async def test_a_replay_that_is_wrong_is_named_and_does_nothing(
    site: Site, body: dict[str, Any], field: str
) -> None:
    await dead(site)
    problem = await ask(site, "POST", "/v1/dead/replay", status=422, json=body)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await ask(site, "GET", "/v1/dead"))["total"] == 1


async def test_a_held_message_is_said_to_have_arrived(site: Site) -> None:
    customer = {"telegram": "123456789", "name": "Asha"}
    answer = await shared(site, customer=customer, route={"mode": "all", "channels": ["telegram"]})
    await hold(site.engine)
    [letter] = (await ask(site, "GET", "/v1/dead"))["letters"]
    assert (letter["held"], letter["cause"]) == (True, "held")
    done = await ask(site, "POST", f"/v1/messages/{answer['messages'][0]}/arrived")
    assert done["outcome"] == "arrived"
    assert (await ask(site, "GET", f"/v1/messages/{letter['id']}"))["outcome"] == "sent"


async def test_the_contact_is_edited_and_the_letter_goes_to_the_new_address(site: Site) -> None:
    answer = await dead(site, INVALID, id="2026/017")
    path = "/v1/shares/2026%2F017/contact"
    edited = await ask(site, "PATCH", path, json={"phone": "0754 999 888", "email": "Asha@Example.com"})
    assert (edited["phone"], edited["email"], edited["suppressed"]) == ("+255•••9888", "A•••@example.com", [])
    assert edited["dead"] == answer["messages"]
    await ask(site, "POST", "/v1/dead/replay", json={"ids": edited["dead"]})
    assert [held["to"] for held in await take(site.engine)] == ["+255754999888"]


@pytest.mark.parametrize(
    ("edit", "fields"),
    [
        ({}, {"$"}),
        ({"phone": "12", "email": "asha"}, {"phone", "email"}),
        ({"telegram": "@asha"}, {"telegram"}),
        ({"name": "Asha", "phone": "0754999888"}, {"name"}),
        ({"phone": 754999888}, {"phone"}),
    ],
)
async def test_every_wrong_address_is_named_and_nothing_changes(
    site: Site, edit: dict[str, Any], fields: set[str]
) -> None:
    answer = await shared(site)
    body = await ask(site, "PATCH", f"/v1/shares/{answer['id']}/contact", status=422, json=edit)
    assert {error["field"] for error in body["errors"]} == fields
    assert "999888" not in str(body)
    [held] = await take(site.engine, "whatsapp")
    assert held["to"].startswith("+25575410")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/0-" + "a" * 16 + ".1/replay"),
        ("POST", "/v1/messages/none/arrived"),
        ("PATCH", "/v1/shares/none/contact"),
    ],
)
async def test_what_does_not_exist_is_404(site: Site, method: str, path: str) -> None:
    problem = await ask(site, method, path, status=404, json={"phone": "0754999888"})
    assert problem["type"] == "/docs#not-found"


async def test_what_is_not_dead_is_refused(site: Site) -> None:
    answer = await shared(site)
    for act in ("replay", "arrived"):
        problem = await ask(site, "POST", f"/v1/messages/{answer['messages'][0]}/{act}", status=422)
        assert problem["errors"][0]["field"] == "message"


@pytest.mark.parametrize(
    ("scope", "looks", "acts"), [("read", 200, 403), ("share", 403, 403), ("staff", 200, 200)]
)
async def test_reading_needs_read_or_staff_and_acting_needs_staff(
    site: Site, scope: str, looks: int, acts: int
) -> None:
    [message] = (await dead(site))["messages"]
    _, key = await site.engine.api_keys.create("one", [scope])
    bearer = {"Authorization": f"Bearer {key}"}
    base = f"http://127.0.0.1:{site.port}"
    async with aiohttp.ClientSession(base, headers=bearer) as http:
        async with http.get("/v1/dead") as response:
            assert response.status == looks
        for path in (f"/v1/messages/{message}/replay", "/v1/dead/replay"):
            async with http.post(path, json={"ids": [message]}) as response:
                assert response.status == acts


async def test_who_replayed_is_on_record(site: Site) -> None:
    [message] = (await dead(site))["messages"]
    await ask(site, "POST", f"/v1/messages/{message}/replay")
    [(_, row)] = await site.engine.records.client.xrange("tuma:audit")
    assert row["action"] == "replay"
    assert row["by"].startswith("key:")


async def test_without_redis_the_list_is_503(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    await ask(site, "GET", "/v1/dead", status=503)


async def test_query_and_bodies_are_described(site: Site) -> None:
    document = await ask(site, "GET", "/openapi.json")
    parameters = {one["name"]: one for one in document["paths"]["/v1/dead"]["get"]["parameters"]}
    assert set(parameters) == {"channel", "kind", "reason", "number", "share", "limit", "offset"}
    assert parameters["channel"]["schema"]["enum"] == ["email", "sms", "telegram", "whatsapp"]
    assert all(one["in"] == "query" and one["description"] for one in parameters.values())
    body = document["paths"]["/v1/dead/replay"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/ReplayForm"}
    assert "DeadQuery" not in document["components"]["schemas"]
