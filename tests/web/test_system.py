"""Health, figures, and the description of the API."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.web.problems import KINDS
from channels.base import Delivery, StatusUpdate
from tests.engine.endings import DOUBT, end
from tests.web.conftest import Lonely, Site, shared
from tests.web.test_pages import Page, get


async def text_of(site: Site, path: str) -> str:
    async with site.stranger.get(path) as response:
        assert response.status == 200
        return await response.text()


async def test_alive_and_ready(site: Site) -> None:
    assert await text_of(site, "/healthz") == '{"status":"ok"}'
    assert await text_of(site, "/readyz") == '{"status":"ready","roles":["api"]}'


async def test_without_redis_it_is_alive_but_not_ready(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    assert await text_of(site, "/healthz") == '{"status":"ok"}'
    for path in ("/readyz", "/metrics"):
        async with site.stranger.get(path) as response:
            assert response.status == 503


async def figures(site: Site) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(await text_of(site, "/metrics"))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_the_ledgers_figures_are_there(site: Site) -> None:
    await shared(site, route={"mode": "all", "channels": ["sms", "email"]})
    found = await figures(site)
    assert found[("tuma_created", ())] == 2
    assert found[("tuma_open_bills", ())] == 1
    assert found[("tuma_waiting", (("channel", "sms"), ("lane", "urgent")))] == 1


async def test_how_doubts_ended_is_there(site: Site) -> None:
    [message] = (await shared(site, route={"mode": "all", "channels": ["sms"]}))["messages"]
    await end(site.engine, {**DOUBT, "at": "99999999999999"})
    assert (await figures(site))[("tuma_in_doubt", ())] == 1
    async with site.http.get(f"/v1/messages/{message}") as response:
        assert (await response.json())["asking"] == {"answers": 0, "of": 4, "obstacle": None}
    await site.engine.messages.found(StatusUpdate(message, "SM1", Delivery.SENT), 1)
    found = await figures(site)
    assert found[("tuma_doubts", (("how", "adopted"),))] == 1
    assert found[("tuma_in_doubt", ())] == found[("tuma_asking", ())] == 0
    assert found[("tuma_possible_duplicates", ())] == 0


async def test_requests_are_counted_by_template(site: Site) -> None:
    answer = await shared(site)
    await text_of(site, f"/pay/{answer['token']}")
    found = await figures(site)
    labels = (("method", "GET"), ("route", "/pay/{token}"), ("status", "200"))
    assert found[("tuma_http_requests_total", labels)] == 1


async def test_figures_say_how_the_rates_stand(site: Site) -> None:
    scripts = site.engine.records.scripts
    request = {
        **{
            "ch": "sms",
            "who": "w",
            "want": 4,
            "bulk": 4,
            "urgent": False,
            "cost": 1,
            "back": 0,
            "every": 1e6,
        },
        **{"burst": 3, "spare": 1, "busy": 0, "keep": 1, "places": []},
    }
    for _ in range(2):
        await scripts.run(scripts.lease(request))
    found, sms = await figures(site), (("channel", "sms"),)
    assert (found[("tuma_limit_rate", sms)], found[("tuma_limit_used_total", sms)]) == (1, 3)
    assert found[("tuma_limit_waits_total", sms)] == 1
    assert 1 <= found[("tuma_limit_tokens", sms)] < 4


async def test_figures_hold_no_token_number_contact_or_made_up_word(site: Site) -> None:
    answer = await shared(site)
    await text_of(site, f"/pay/{answer['token']}")
    async with site.stranger.request("PROPFIND", f"/nowhere/{answer['number']}") as response:
        assert response.status == 404
    text = await text_of(site, "/metrics")
    for secret in (
        answer["token"],
        answer["number"],
        answer["id"],
        "PROPFIND",
        "nowhere",
        "asha",
        "0754",
        "+255",
    ):
        assert secret not in text


async def document(site: Site) -> dict[str, Any]:
    async with site.stranger.get("/openapi.json") as response:
        assert response.content_type == "application/json"
        found: dict[str, Any] = await response.json()
        return found


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in references(value)]
    return [ref for value in node for ref in references(value)] if isinstance(node, list) else []


async def test_the_description_is_openapi_3_1_and_every_reference_leads_somewhere(site: Site) -> None:
    found = await document(site)
    assert found["openapi"] == "3.1.0"
    assert found["servers"] == [{"url": "https://bili.example"}]
    names = {ref.removeprefix("#/components/schemas/") for ref in references(found)}
    assert names <= found["components"]["schemas"].keys()
    assert {"ShareJob", "AcceptedShare", "ProblemDetails"} <= names


async def test_every_operation_has_a_name_of_its_own_and_says_what_it_answers(site: Site) -> None:
    operations = [op for methods in (await document(site))["paths"].values() for op in methods.values()]
    names = [op["operationId"] for op in operations]
    assert len(names) == len(set(names))
    assert all(op["responses"] and op["summary"] for op in operations)


async def test_every_described_address_exists_and_asks_for_a_key_as_it_says(site: Site) -> None:
    for path, methods in (await document(site))["paths"].items():
        for method, operation in methods.items():
            address = re.sub(r"\{\w+\}", "x", path)
            async with site.stranger.request(method, address) as response:
                assert response.status != 405, path
                assert (response.status == 401) == ("security" in operation), path
                if path.startswith("/v1/"):
                    assert "security" in operation


async def test_every_parameter_in_an_address_is_described(site: Site) -> None:
    for path, methods in (await document(site))["paths"].items():
        for operation in methods.values():
            described = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert described == set(re.findall(r"\{(\w+)\}", path))


async def test_the_docs_are_one_page_that_works_offline(site: Site) -> None:
    page = await get(site, "/docs")
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe"}
    assert "src=" not in page.html
    assert "http://" not in page.html
    assert "https://" not in page.html.replace("https://example.com/hook", "")
    for text in (
        "/v1/shares/bulk",
        "Idempotency-Key",
        "bill.amount",
        "customer.phone",
        "reminders.before_due",
    ):
        assert text in page.text


async def test_every_link_in_the_docs_leads_somewhere(site: Site) -> None:
    page = await get(site, "/docs")
    ids = {attrs.get("id") for _, attrs in page.tags}
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert {link for link in links if link and link.startswith("#") and link[1:] not in ids} == set()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_docs_explain_every_problem_at_its_address(site: Site, kind: str) -> None:
    page: Page = await get(site, "/docs")
    assert ("tr", {"id": kind}) in page.tags


async def test_crawlers_are_kept_out(site: Site) -> None:
    assert "Disallow: /" in await text_of(site, "/robots.txt")
