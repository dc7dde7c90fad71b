"""What every channel promises, shown over real sockets against a server that speaks its provider's wire format."""

from __future__ import annotations

import asyncio
import socket
import traceback

import pytest

from channels.base import ChannelName, SmsContent, TelegramContent
from channels.errors import (
    ChannelError,
    ContentRejected,
    LeaseExpired,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)
from tests.channels.rigs import RIGS, Rig, eventually
from tests.conftest import free_port

ALL = list(RIGS)
HTTP = [name for name in ALL if name != ChannelName.EMAIL]
# A router waits for whoever may work soonest, and by its own clock where nobody said how long.
ONE = [name for name in HTTP if name != "sms of several"]

DECISIONS: list[tuple[str, str, type[ChannelError]]] = [
    *[(name, "silent", Uncertain) for name in ALL],
    *[(name, "reset", Uncertain) for name in ALL],
    *[(name, "bad_recipient", RecipientInvalid) for name in ALL],
    *[(name, "bad_credentials", Misconfigured) for name in ALL],
    *[(name, "unknown_refusal", ContentRejected) for name in ALL],
    *[(name, "opted_out", RecipientOptedOut) for name in HTTP],
    *[(name, "throttled", Throttled) for name in HTTP],
    *[(name, "throttled_7s", Throttled) for name in HTTP],
    *[(name, "server_error", Uncertain) for name in HTTP],
    *[(name, "html_error", Uncertain) for name in HTTP],
    *[(name, "unreadable", Uncertain) for name in HTTP],
]
decisions = pytest.mark.parametrize(
    ("rig", "behaviour", "decision"),
    DECISIONS,
    indirect=["rig"],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
over_http = pytest.mark.parametrize("rig", ONE, indirect=True, ids=str)


async def failure(rig: Rig, timeout_s: float = 5.0) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        await rig.make(timeout_s=timeout_s).send(rig.outgoing())
    return caught.value


async def test_a_message_is_accepted_once_with_an_id_of_the_provider(rig: Rig) -> None:
    accepted = await rig.send()
    assert accepted.provider_id
    assert len(rig.server.accepted) == 1


@decisions
async def test_a_failure_becomes_its_one_decision(
    rig: Rig, behaviour: str, decision: type[ChannelError]
) -> None:
    rig.server.behaviour = behaviour
    error = await failure(rig, timeout_s=0.6 if behaviour == "silent" else 5.0)
    assert type(error) is decision, error


@decisions
async def test_no_error_shows_a_secret_an_address_or_a_text(
    rig: Rig, behaviour: str, decision: type[ChannelError]
) -> None:
    rig.server.behaviour = behaviour
    error = await failure(rig, timeout_s=0.6 if behaviour == "silent" else 5.0)
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert [secret for secret in rig.secrets if secret in shown] == []


async def test_a_refused_connection_is_known_not_sent(rig: Rig) -> None:
    scheme = rig.base.partition("://")[0]
    channel = rig.make(f"{scheme}://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="connection"):
        await channel.send(rig.outgoing())


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN], ids=["unknown", "resolver away"])
async def test_a_host_name_that_is_not_found_is_known_not_sent(
    rig: Rig, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def resolve(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(code, "no such name")

    scheme = rig.base.partition("://")[0]
    channel = rig.make(f"{scheme}://provider.example:25")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Unavailable, match="connection"):
        await channel.send(rig.outgoing())
    assert set(asked) == {"provider.example"}


@over_http
async def test_a_throttled_message_waits_the_time_the_provider_asked(rig: Rig) -> None:
    rig.server.behaviour = "throttled_7s"
    error = await failure(rig)
    assert isinstance(error, Throttled)
    assert (error.retry_after_s, error.whole_channel) == (7.0, True)


@over_http
async def test_a_throttled_message_without_a_time_leaves_the_wait_to_us(rig: Rig) -> None:
    rig.server.behaviour = "throttled"
    error = await failure(rig)
    assert isinstance(error, Throttled)
    assert error.retry_after_s is None


async def test_an_expired_lease_sends_nothing(rig: Rig) -> None:
    channel = rig.make()
    with pytest.raises(LeaseExpired):
        await channel.send(rig.outgoing(lease_s=-0.001))
    assert rig.server.accepted == []


async def test_an_expired_lease_sends_nothing_over_a_kept_connection(rig: Rig) -> None:
    channel = rig.make()
    await channel.send(rig.outgoing())
    with pytest.raises(LeaseExpired):
        await channel.send(rig.outgoing(lease_s=-0.001))
    assert len(rig.server.accepted) == 1


async def test_a_connection_outlives_an_expired_lease(rig: Rig) -> None:
    channel = rig.make()
    for lease_s in (30, -1, -1, 30):
        await asyncio.gather(channel.send(rig.outgoing(lease_s=lease_s)), return_exceptions=True)
    assert len(rig.server.accepted) == 2
    assert rig.server.connections == 1


async def test_content_of_another_channel_is_refused_before_sending(rig: Rig) -> None:
    other = TelegramContent("x") if rig.name is not ChannelName.TELEGRAM else SmsContent("x")
    with pytest.raises(ContentRejected):
        await rig.send(content=other)
    assert rig.server.accepted == []


async def test_connections_are_kept_between_messages(rig: Rig) -> None:
    channel = rig.make()
    for _ in range(5):
        await channel.send(rig.outgoing())
    assert len(rig.server.accepted) == 5
    assert rig.server.connections == 1


async def test_many_at_once_are_all_accepted(rig: Rig) -> None:
    channel = rig.make()
    sends = [channel.send(rig.outgoing(message_id=f"0a-x.{n}")) for n in range(2 * channel.concurrency)]
    assert len({accepted.provider_id for accepted in await asyncio.gather(*sends)}) == len(sends)
    assert len(rig.server.accepted) == len(sends)


async def test_a_cancelled_send_leaves_the_channel_usable(rig: Rig) -> None:
    channel = rig.make()
    rig.server.behaviour = "silent"
    task = asyncio.create_task(channel.send(rig.outgoing()))
    await eventually(lambda: rig.server.connections == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rig.server.behaviour = "ok"
    assert (await channel.send(rig.outgoing())).provider_id


async def test_closing_leaves_no_socket(rig: Rig) -> None:
    channel = rig.make()
    await asyncio.gather(*(channel.send(rig.outgoing()) for _ in range(4)))
    await channel.close()
    await eventually(lambda: rig.server.connections == 0)


async def test_a_probe_of_a_good_provider_sends_nothing(rig: Rig) -> None:
    probe = await rig.make().probe()
    assert probe.ok, probe.detail
    assert rig.server.accepted == []


async def test_a_probe_of_nobody_says_what_to_check(rig: Rig) -> None:
    scheme = rig.base.partition("://")[0]
    probe = await rig.make(f"{scheme}://127.0.0.1:{free_port()}").probe()
    assert not probe.ok
    assert "check" in probe.hints[0]


async def test_limits_are_those_the_providers_bear(rig: Rig) -> None:
    channel = rig.make()
    expected = {"SmsRig": 50, "WhatsAppRig": 50, "EmailRig": 10, "TelegramRig": 4, "AfricasTalkingRig": 10}
    assert (channel.name, channel.concurrency) == (rig.name, expected.get(type(rig).__name__, 50))


async def test_an_address_that_cannot_be_one_is_the_recipients_fault(rig: Rig) -> None:
    if rig.name in {ChannelName.SMS, ChannelName.WHATSAPP}:
        rig.server.behaviour = "bad_recipient"  # Twilio itself is the judge of numbers
    with pytest.raises(RecipientInvalid):
        await rig.send(to="not an address")
