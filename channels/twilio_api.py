"""One Twilio account, spoken to through Twilio's SDK: create a message, look for one, look at the account.

`Client.request_async` is used and not `messages.create_async`: it is the same request with the same credentials and
headers, but it answers with status and headers where the other raises an exception that lost them.

Source: Twilio message resource, https://www.twilio.com/docs/messaging/api/message-resource, and account resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from channels.base import Accepted, Delivery, Outgoing, Probe, Trace
from channels.config import TwilioConfig
from channels.errors import ChannelError, Misconfigured, Unavailable, Uncertain
from channels.forms import encode
from channels.http_exchange import retry_after_s
from channels.leased import lease
from channels.twilio_codes import classify
from channels.twilio_search import Listed, Page, search, since
from channels.twilio_transport import TwilioTransport

# Seconds that Twilio takes as ValidityPeriod. Source: message resource.
VALIDITY_S = (1, 36_000)
# How many messages to one recipient are looked through; the second figure is the most that Twilio lists at once.
_RECENT, _DATED = 100, 1000


class _Message(msgspec.Struct):
    sid: str
    status: str = "queued"
    num_segments: str | int | None = None
    error_code: int | None = None


class _Refusal(msgspec.Struct):
    """Both of Twilio's error forms, its own and RFC 9457, carry `code`."""

    code: int | None = None


class _Account(msgspec.Struct):
    status: str = "unknown"
    type: str = "unknown"


class TwilioApi:
    """The requests that SMS and WhatsApp make."""

    def __init__(self, config: TwilioConfig) -> None:
        if not config.account_sid or not config.auth_token:
            raise Misconfigured("twilio settings", "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are needed")
        self._config = config
        self._transport = TwilioTransport(
            config.api_base, timeout_s=config.timeout_s, connections=config.concurrency
        )
        self._client = Client(config.account_sid, config.auth_token, http_client=self._transport)
        self._account = f"https://api.twilio.com/2010-04-01/Accounts/{quote(config.account_sid, safe='')}"

    async def create(self, outgoing: Outgoing, form: Mapping[str, str | None]) -> Accepted:
        """Create one message from `form` (API names), adding the callback and the validity of `outgoing`.

        Errors: every ChannelError.
        """
        data = {**form, "StatusCallback": self._callback(outgoing), "ValidityPeriod": _validity(outgoing)}
        with lease(outgoing.deadline):
            response = await self._client.request_async("POST", f"{self._account}/Messages.json", data=data)
        if 200 <= response.status_code < 300:
            return _accepted(response)
        raise _refused(response)

    async def find(self, to: str, trace: Trace, *, templated: bool = False) -> Accepted | None:
        """Look for the message of `trace` among those to `to` (the API's form). None: asked, not there.

        Asked twice: a message that still waits inside Twilio has no DateSent and would be missed by that filter, an
        older one may be missed among the most recent. Errors: ChannelError when Twilio cannot be asked.
        """
        # The filter takes days in GMT; another zone's day would begin too late.
        dated = {"DateSent>": since(trace).date().isoformat(), "PageSize": _DATED}
        for filters in ({"PageSize": _RECENT}, dated):
            match = search(await self._list({"To": to, **filters}), trace, templated=templated)
            if match is not None:
                return _found(match)
        return None

    async def _list(self, filters: dict[str, object]) -> list[Listed]:
        try:
            response = await self._client.request_async(
                "GET", f"{self._account}/Messages.json", params=filters
            )
            if response.status_code != 200:
                raise _refused(response)
            return msgspec.json.decode(response.text, type=Page).messages
        except Uncertain as error:  # a question has no outcome that could be in doubt
            raise Unavailable(error.code, f"Twilio could not be asked: {error.detail}") from None
        except (msgspec.DecodeError, ValueError):
            raise Unavailable("twilio answer", "Twilio's list could not be read") from None

    async def probe(self) -> Probe:
        """Fetch the account; sends nothing and costs nothing."""
        try:
            response = await self._client.request_async("GET", f"{self._account}.json")
        except ChannelError as error:
            return Probe(False, str(error), ("check TWILIO_API_BASE and the network",))
        if response.status_code == 200:
            return _account_state(response)
        return Probe(
            False,
            str(_refused(response)),
            ("check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (primary token)",),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    def _callback(self, outgoing: Outgoing) -> str | None:
        if self._config.status_callback is None:
            return None
        query = encode({"m": outgoing.message_id, "a": str(outgoing.attempt)}).decode()
        return f"{self._config.status_callback}?{query}"


def _validity(outgoing: Outgoing) -> str | None:
    if outgoing.validity_s is None:
        return None
    shortest, longest = VALIDITY_S
    return str(max(shortest, min(outgoing.validity_s, longest)))


def _accepted(response: Response) -> Accepted:
    try:
        message = msgspec.json.decode(response.text, type=_Message)
    except (msgspec.DecodeError, ValueError):
        message = None
    if message is None or not message.sid:
        raise Uncertain("twilio answer", "taken, but the answer could not be read")
    delivery = _delivery(message.status)
    if delivery in {Delivery.FAILED, Delivery.UNDELIVERED}:
        raise classify(message.error_code, 0, sync=False)
    return Accepted(message.sid, delivery, _segments(message.num_segments))


def _found(listed: Listed) -> Accepted:
    delivery = _delivery(listed.status)
    ended = delivery in {Delivery.FAILED, Delivery.UNDELIVERED}
    error = classify(listed.error_code, 0, sync=False) if ended else None
    return Accepted(listed.sid, delivery, _segments(listed.num_segments), error)


def _delivery(status: str) -> Delivery:
    try:
        return Delivery(status)
    except ValueError:  # a status Twilio added since: it took the message, callbacks will tell more
        return Delivery.ACCEPTED


def _segments(value: str | int | None) -> int | None:
    # With a Messaging Service the first answer says "0": not known yet.
    return int(value) or None if value is not None and str(value).isdecimal() else None


def _refused(response: Response) -> ChannelError:
    try:
        code = msgspec.json.decode(response.text, type=_Refusal).code
    except (msgspec.DecodeError, ValueError):
        code = None
    wait = retry_after_s(response.headers or {})
    return classify(code, response.status_code, sync=True, retry_after_s=wait)


def _account_state(response: Response) -> Probe:
    try:
        account = msgspec.json.decode(response.text, type=_Account)
    except (msgspec.DecodeError, ValueError):
        return Probe(False, "the answer is not Twilio's", ("check TWILIO_API_BASE",))
    if account.status != "active":
        return Probe(
            False, f"the account is {account.status}", ("see the Twilio console; often it lacks funds",)
        )
    hints = ("a trial account only reaches verified numbers",) if account.type == "Trial" else ()
    return Probe(True, f"account {account.status}, {account.type.lower()}", hints)
