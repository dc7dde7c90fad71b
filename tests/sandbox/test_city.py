"""The sandbox as a whole: its ports, its announcement, its people."""

from __future__ import annotations

import asyncio
import json
import tomllib
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from bot.sandbox.city import Sandbox, main
from bot.sandbox.faults import Faults
from bot.sandbox.world import Message, World
from bot.settings import load
from tests.plain import PLAIN
from tests.sandbox.conftest import Tuma


def message(channel: str, address: str, text: str = "Habari") -> Message:
    return Message(
        provider="twilio",
        channel=channel,
        id="SM1",
        address=address,
        sender="TUMA",
        text=text,
        at=datetime.now(UTC),
    )


async def test_the_settings_are_ones_that_tuma_reads(city: Sandbox) -> None:
    settings = load(city.settings_env(), dotenv=None)
    assert settings.twilio_api_base == city.urls["twilio"]
    assert settings.clickpesa_api_base == city.urls["clickpesa"]
    assert settings.clickpesa_checksum_key == city.credentials["clickpesa"]["checksum_key"]
    assert settings.smtp_url is not None
    assert settings.smtp_url.endswith(city.urls["smtp"].removeprefix("smtp://"))


async def test_the_settings_of_a_second_sms_provider_are_ones_that_tuma_reads(city: Sandbox) -> None:
    settings = load(city.settings_env() | city.second_sms_env(), dotenv=None)
    assert settings.sms_route() == (("twilio", 1), ("africastalking", 0))
    assert settings.africastalking_api_base == city.urls["africastalking"]


async def test_the_first_line_is_one_json_object() -> None:
    written: list[str] = []
    stop = asyncio.Event()
    running = asyncio.create_task(main(json=True, stop=stop, write=written.append))
    async with asyncio.timeout(10):
        while not written:
            await asyncio.sleep(0.01)
    facts = json.loads(written[0].splitlines()[0])
    servers = {"twilio", "africastalking", "telegram", "clickpesa", "smtp", "page"}
    assert servers | {"credentials", "env", "env_second_sms", "profile", "seed"} == facts.keys()
    assert facts["profile"] == "calm"
    async with httpx.AsyncClient(verify=PLAIN) as http:
        assert (await http.get(facts["page"])).status_code == 200
    stop.set()
    await running


async def test_the_words_for_people_name_the_page_and_every_setting() -> None:
    written: list[str] = []
    stop = asyncio.Event()
    stop.set()
    await main(stop=stop, write=written.append)
    assert written[0].startswith("Open http://127.0.0.1:")
    assert "TWILIO_API_BASE=http://127.0.0.1:" in written[0]
    assert 'EMAIL_FROM="Tuma Sandbox <bili@sandbox.test>"' in written[0]


async def test_the_settings_say_where_tuma_is_so_that_delivery_comes_back(city: Sandbox) -> None:
    assert "PUBLIC_URL" not in city.settings_env()
    city.connect("http://127.0.0.1:8123/")
    assert load(city.settings_env(), dotenv=None).public_url == "http://127.0.0.1:8123"


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_announcement_names_where_tuma_is(as_json: bool) -> None:
    written: list[str] = []
    stop = asyncio.Event()
    stop.set()
    await main(json=as_json, tuma="http://127.0.0.1:8123", stop=stop, write=written.append)
    shown = json.loads(written[0])["env"]["PUBLIC_URL"] if as_json else written[0]
    assert "http://127.0.0.1:8123" in shown
    assert as_json or "PUBLIC_URL=http://127.0.0.1:8123\n" in shown


async def test_without_checksums_no_key_is_handed_out() -> None:
    written: list[str] = []
    stop = asyncio.Event()
    stop.set()
    await main(json=True, checksum=False, stop=stop, write=written.append)
    assert "CLICKPESA_CHECKSUM_KEY" not in json.loads(written[0])["env"]


async def test_a_stopped_sandbox_leaves_its_ports(tuma: Tuma) -> None:
    async with Sandbox() as city:
        port = int(city.urls["page"].rpartition(":")[2])
    async with Sandbox(ports={"page": port}) as again:
        assert again.urls["page"].endswith(f":{port}")


async def test_a_payment_waits_for_the_webhooks_answer(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url + "/")
    city.bill("55042914871931", 100)
    tuma.status = 503
    payment = await city.pay("55042914871931", 100)
    assert payment.webhook_status == 503
    assert [call.path for call in tuma.calls] == ["/webhooks/clickpesa"]


async def test_a_lost_webhook_leaves_the_payment_on_record(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.bill("55042914871931", 100)
    payment = await city.pay("55042914871931", 100, notify=False)
    assert tuma.calls == []
    await city.wallet.notify(payment)
    await city.wallet.notify(payment)
    assert len({json.loads(call.body)["data"]["id"] for call in tuma.calls}) == 1


async def test_nobody_at_tumas_place_is_status_0(city: Sandbox) -> None:
    city.connect("http://127.0.0.1:9")
    city.bill("55042914871931", 100)
    assert (await city.pay("55042914871931", 100)).webhook_status == 0


def test_addresses_of_one_person_are_one_person() -> None:
    world = World()
    asha = world.person("Asha", phone="+255754000001", email="Asha@example.com")
    assert world.owner("email", "asha@EXAMPLE.com") is asha
    assert world.owner("whatsapp", "+255754000001") is asha
    assert world.person(phone="+255754000001", chat=5) is asha
    assert world.owner("telegram", "5") is asha


def test_a_stranger_who_turns_out_to_be_somebody_is_not_shown_twice() -> None:
    world = World()
    world.accept(message("sms", "+255754000001"))
    world.accept(message("email", "asha@example.com"))
    world.person("Asha", phone="+255754000001", email="asha@example.com")
    assert [(each.name, each.phone, each.email) for each in world.people] == [
        ("Asha", "+255754000001", "asha@example.com")
    ]


def test_the_record_keeps_what_never_arrived() -> None:
    world = World()
    world.accept(message("sms", "+255754000001"))
    assert len(world.accepted("sms", "+255754000001")) == 1
    assert world.screen("sms", "+255754000001") == []


def test_a_number_that_was_only_shared_is_known_by_reading() -> None:
    world = World()
    world.accept(message("sms", "+255754000001", "Lipa TZS 9,000 kwa 12345678901234"))
    shared = world.shared["12345678901234"]
    assert shared.amount == Decimal(9000)
    assert len(shared.messages) == 1


async def test_a_number_that_was_only_shared_can_be_paid(city: Sandbox) -> None:
    city.world.person("Asha", phone="+255754000001")
    city.world.accept(message("sms", "+255754000001", "Lipa TZS 9,000 kwa 12345678901234"))
    payment = await city.pay("12345678901234", 9000)
    assert (payment.payer_name, payment.payer_phone) == ("Asha", "255754000001")
    assert city.clickpesa.bills["12345678901234"].source == "read"


@pytest.mark.parametrize(("provider", "mode"), [("pigeon", "ok"), ("twilio", "sleepy")])
def test_an_unknown_fault_is_refused(provider: str, mode: str) -> None:
    with pytest.raises(ValueError):
        Faults().set(provider, mode)


async def test_every_shipped_whatsapp_template_is_approved(city: Sandbox) -> None:
    mapping = tomllib.loads(city.whatsapp_templates.read_text())
    entries = [
        entry for locales in mapping.values() for kinds in locales.values() for entry in kinds.values()
    ]
    assert len(entries) >= 8
    assert {entry["content_sid"]: entry["body"] for entry in entries} == city.twilio.templates


async def test_the_mapping_goes_away_with_the_sandbox() -> None:
    async with Sandbox() as city:
        file = city.whatsapp_templates
        assert file.exists()
    assert not file.exists()
