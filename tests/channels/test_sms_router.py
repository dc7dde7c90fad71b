"""Several SMS providers as one channel, over real sockets: Twilio's wire format beside Africa's Talking's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from channels import registry
from channels.africastalking import AfricasTalking
from channels.base import Accepted, Askable, Channel, ChannelName, Outgoing, Probe, Trace, lease_clock
from channels.config import SmsConfig, SmsProvider
from channels.errors import (
    ChannelError,
    ContentRejected,
    LeaseExpired,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unaskable,
    Unavailable,
    Uncertain,
)
from channels.sms import Sms
from channels.sms_health import Watch
from channels.sms_router import SmsRouter
from tests.channels.rigs import BODY, MESSAGE_ID, AfricasTalkingRig, SmsRig
from tests.conftest import free_port

NUMBER = "55042914871931"


@dataclass
class Pair:
    """Both servers, and the routers made for them."""

    twilio: SmsRig = field(default_factory=SmsRig)
    local: AfricasTalkingRig = field(default_factory=AfricasTalkingRig)
    made: list[Channel] = field(default_factory=list)

    def router(
        self,
        weights: tuple[int, int] = (1, 0),
        chance: Callable[[], float] = random.random,
        replaced: Mapping[str, Channel] | None = None,
        **bases: str,
    ) -> SmsRouter:
        configs = {
            "twilio": self.twilio.config(bases.get("twilio", self.twilio.base), timeout_s=1.0),
            "africastalking": self.local.config(bases.get("africastalking", self.local.base), timeout_s=1.0),
        }
        providers = {
            name: SmsProvider(config=config, weight=weight)
            for (name, config), weight in zip(configs.items(), weights, strict=True)
        }
        channels = {name: registry.sms(config) for name, config in configs.items()} | dict(replaced or {})
        router = SmsRouter(SmsConfig(providers=providers), channels, Watch(), chance)
        self.made.append(router)
        return router

    def outgoing(self, message_id: str = MESSAGE_ID, **changes: Any) -> Outgoing:
        return self.twilio.outgoing(message_id=message_id, **changes)

    @property
    def took(self) -> tuple[int, int]:
        """How many messages each provider took."""
        return len(self.twilio.server.accepted), len(self.local.server.accepted)

    @property
    def asked(self) -> tuple[int, int]:
        """How many requests came to each provider."""
        return len(self.twilio.server.requests), len(self.local.server.requests)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    both = Pair()
    await both.twilio.start()
    await both.local.start()
    yield both
    for router in both.made:
        await router.close()
    await both.twilio.stop()
    await both.local.stop()


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def trace(providers: frozenset[str] | None = None) -> Trace:
    return Trace(MESSAGE_ID, "+255754123456", BODY, NUMBER, datetime.now(UTC), providers=providers)


def listed() -> dict[str, str]:
    made = format_datetime(datetime.now(UTC))
    return {"sid": "SM1", "body": BODY, "direction": "outbound-api", "date_created": made}


# Choosing


async def test_the_first_takes_everything_while_it_is_well(pair: Pair) -> None:
    router = pair.router()
    for _ in range(10):
        await router.send(pair.outgoing())
    assert pair.took == (10, 0)


async def test_each_can_be_the_first(pair: Pair) -> None:
    await pair.router((0, 1)).send(pair.outgoing())
    assert pair.took == (0, 1)


async def test_weights_share_the_messages(pair: Pair) -> None:
    marks = iter([n / 8 + 0.01 for n in range(8)])
    router = pair.router((3, 1), chance=lambda: next(marks))
    for n in range(8):
        await router.send(pair.outgoing(f"0a-x.{n}"))
    assert pair.took == (6, 2)


async def test_an_outage_moves_the_messages_to_the_standby(pair: Pair) -> None:
    router = pair.router(twilio=nowhere())
    for n in range(30):
        await router.send(pair.outgoing(f"0a-x.{n}"))
    assert pair.took == (0, 30)
    assert router.shares()["africastalking"] > 0.6


# Going on to the next


@pytest.mark.parametrize("behaviour", ["throttled", "throttled_7s", "bad_credentials", "redirect"])
async def test_what_was_certainly_not_taken_goes_through_the_next(pair: Pair, behaviour: str) -> None:
    pair.twilio.server.behaviour = behaviour
    accepted = await pair.router().send(pair.outgoing())
    assert accepted.provider_id.startswith("ATXid_")
    assert pair.took == (0, 1)


async def test_a_provider_that_is_not_there_is_passed_by(pair: Pair) -> None:
    await pair.router(twilio=nowhere()).send(pair.outgoing())
    assert pair.took == (0, 1)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("silent", Uncertain),
        ("reset", Uncertain),
        ("server_error", Uncertain),
        ("html_error", Uncertain),
        ("unreadable", Uncertain),
        ("bad_recipient", RecipientInvalid),
        ("opted_out", RecipientOptedOut),
        ("unknown_refusal", ContentRejected),
    ],
)
async def test_what_may_have_been_taken_or_is_wrong_everywhere_is_not_tried_elsewhere(
    pair: Pair, behaviour: str, error: type[ChannelError]
) -> None:
    pair.twilio.server.behaviour = behaviour
    with pytest.raises(error):
        await pair.router().send(pair.outgoing())
    assert pair.asked == (1, 0)


async def test_a_busy_provider_rests_as_long_as_it_asked(pair: Pair) -> None:
    router = pair.router()
    pair.twilio.server.behaviour = "throttled_7s"
    await router.send(pair.outgoing())
    pair.twilio.server.behaviour = "ok"
    await router.send(pair.outgoing())
    assert pair.asked == (1, 2)


async def test_an_account_that_was_refused_is_left_alone_for_a_while(pair: Pair) -> None:
    router = pair.router(chance=lambda: 0.999)
    pair.twilio.server.behaviour = "bad_credentials"
    for _ in range(3):
        await router.send(pair.outgoing())
    assert pair.asked == (1, 3)


async def test_after_its_rest_a_provider_is_used_again(pair: Pair) -> None:
    router = pair.router(chance=lambda: 0.0)
    pair.twilio.server.behaviour = "throttled_1s"
    await router.send(pair.outgoing())
    pair.twilio.server.behaviour = "ok"
    async with asyncio.timeout(5):
        while pair.took[0] == 0:
            await router.send(pair.outgoing())
            await asyncio.sleep(0.05)


async def test_when_all_are_busy_the_shortest_wait_counts(pair: Pair) -> None:
    router = pair.router()
    pair.twilio.server.behaviour = "throttled_7s"
    pair.local.server.behaviour = "throttled"
    with pytest.raises(Throttled) as caught:
        await router.send(pair.outgoing())
    assert caught.value.whole_channel
    assert 1 < (caught.value.retry_after_s or 0) <= 2
    with pytest.raises(Throttled):
        await router.send(pair.outgoing())
    assert pair.asked == (1, 1)


async def test_refused_everywhere_is_the_channels_fault_every_time(pair: Pair) -> None:
    router = pair.router()
    pair.twilio.server.behaviour = pair.local.server.behaviour = "bad_credentials"
    for _ in range(2):
        with pytest.raises(Misconfigured):
            await router.send(pair.outgoing())
    assert pair.asked == (2, 2)


async def test_one_account_refused_does_not_stop_the_channel_while_another_may_work(pair: Pair) -> None:
    router = pair.router(africastalking=nowhere())
    pair.twilio.server.behaviour = "bad_credentials"
    with pytest.raises(Unavailable):
        await router.send(pair.outgoing())


async def test_an_expired_lease_ends_the_attempt(pair: Pair) -> None:
    with pytest.raises(LeaseExpired):
        await pair.router().send(pair.outgoing(lease_s=-0.001))
    assert pair.took == (0, 0)


@dataclass
class Late:
    """A provider that is unreachable, and takes until the end of the lease to find out."""

    name = ChannelName.SMS
    concurrency = 50
    request_timeout_s = 15.0

    async def send(self, outgoing: Outgoing) -> Accepted:
        while lease_clock() < outgoing.deadline:
            await asyncio.sleep(0.01)
        raise Unavailable("late connection", "was not reached: timed out")

    async def probe(self) -> Probe:
        return Probe(False, "timed out")

    async def close(self) -> None:
        pass


async def test_when_the_first_used_up_the_lease_nobody_else_begins(pair: Pair) -> None:
    router = pair.router(replaced={"twilio": Late()})
    with pytest.raises(Unavailable, match="timed out"):
        await router.send(pair.outgoing(lease_s=0.1))
    assert pair.took == (0, 0)


async def test_an_outage_is_logged_once_and_not_for_every_message(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    router = pair.router(twilio=nowhere(), chance=lambda: 0.0)
    for n in range(5):
        await router.send(pair.outgoing(f"0a-x.{n}"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "754123456" not in caplog.text


# Asking


async def test_the_provider_that_had_a_message_is_asked_about_it(pair: Pair) -> None:
    router = pair.router()
    pair.twilio.server.behaviour = "reset"
    with pytest.raises(Uncertain) as lost:
        await router.send(pair.outgoing())
    assert lost.value.provider == "twilio"
    pair.twilio.server.behaviour = "ok"
    left = trace(providers=frozenset({"twilio"}))
    assert await router.find(left) is None
    pair.twilio.server.listed = [listed()]
    found = await router.find(left)
    assert found is not None
    assert found.provider_id == "SM1"


async def test_a_message_left_with_one_that_tells_nothing_stays_in_doubt(pair: Pair) -> None:
    router = pair.router(twilio=nowhere())
    pair.local.server.behaviour = "reset"
    with pytest.raises(Uncertain) as lost:
        await router.send(pair.outgoing())
    assert lost.value.provider == "africastalking"
    pair.twilio.server.listed = [listed()]
    with pytest.raises(Unaskable):
        await router.find(trace(providers=frozenset({"africastalking"})))


async def test_a_provider_that_was_taken_out_of_the_settings_cannot_be_asked(pair: Pair) -> None:
    with pytest.raises(Unaskable):
        await pair.router().find(trace(providers=frozenset({"twilio", "beem"})))


async def test_where_nobody_knows_who_has_a_message_everybody_is_asked(pair: Pair) -> None:
    router = pair.router()
    with pytest.raises(Unaskable):
        await router.find(trace())
    pair.twilio.server.listed = [listed()]
    found = await router.find(trace())
    assert found is not None
    assert found.provider_id == "SM1"


async def test_not_there_at_all_is_said_only_when_all_say_so(pair: Pair) -> None:
    router = pair.router(replaced={"africastalking": pair.twilio.make()})
    assert await router.find(trace()) is None
    pair.twilio.server.behaviour = "throttled"
    with pytest.raises(Throttled):
        await router.find(trace())


async def test_asking_later_may_help_is_said_before_it_never_will(pair: Pair) -> None:
    router = pair.router(twilio=nowhere())
    with pytest.raises(Unavailable):
        await router.find(trace())


# Living


async def test_no_provider_gets_more_at_once_than_it_bears(pair: Pair) -> None:
    assert pair.router((1, 0)).concurrency == 50
    assert pair.router((0, 1)).concurrency == 10
    assert pair.router((1, 1)).concurrency == 20
    assert pair.router((9, 1)).concurrency == 55


async def test_a_probe_is_good_as_long_as_one_provider_is(pair: Pair) -> None:
    router = pair.router()
    assert (await router.probe()).ok
    pair.twilio.server.behaviour = "bad_credentials"
    probe = await router.probe()
    assert probe.ok
    assert "twilio: 20003" in probe.detail
    assert "africastalking: balance" in probe.detail
    pair.local.server.behaviour = "bad_credentials"
    assert not (await router.probe()).ok


async def test_one_provider_alone_needs_no_router(pair: Pair) -> None:
    for rig, kind in ((pair.twilio, Sms), (pair.local, AfricasTalking)):
        config = SmsConfig(providers={"one": SmsProvider(config=rig.config(rig.base), weight=1)})
        assert type(registry.sms(config)) is kind


async def test_a_router_can_be_asked_and_takes_no_longer_than_its_slowest(pair: Pair) -> None:
    router = pair.router()
    assert isinstance(router, Askable)
    slow = pair.router(replaced={"twilio": Late()})
    assert (router.request_timeout_s, slow.request_timeout_s) == (1.0, 15.0)
