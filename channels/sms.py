"""SMS through Twilio: one request per message, sent from a Messaging Service, a number or a registered name.

The text goes out as it is: rendering has already counted its segments and chosen its alphabet, so Twilio's own
rewriting (SmartEncoded) is not asked for, and the stored body equals the sent one. Delivery comes by callback.

Source: Twilio message resource, https://www.twilio.com/docs/messaging/api/message-resource; error codes in
`twilio_codes`.
"""

from __future__ import annotations

from channels.base import Accepted, ChannelName, Outgoing, Probe, SmsContent, Trace
from channels.config import TwilioConfig
from channels.errors import ContentRejected, Misconfigured
from channels.twilio_api import TwilioApi


class Sms:
    """The SMS channel. Raises Misconfigured when made without credentials or a sender."""

    name = ChannelName.SMS

    def __init__(self, config: TwilioConfig) -> None:
        self.concurrency = config.concurrency
        self.request_timeout_s = config.timeout_s
        self._sender = _sender(config)
        self._api = TwilioApi(config)

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Create one message. Errors: every ChannelError."""
        if not isinstance(outgoing.content, SmsContent):
            raise ContentRejected("sms content", "this is not a text message")
        return await self._api.create(
            outgoing, {"To": outgoing.to, "Body": outgoing.content.text, **self._sender}
        )

    async def find(self, trace: Trace) -> Accepted | None:
        """Look for a message in doubt. Errors: ChannelError when Twilio cannot be asked now."""
        return await self._api.find(trace.to, trace)

    async def probe(self) -> Probe:
        """Fetch the account; sends nothing."""
        return await self._api.probe()

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()


def _sender(config: TwilioConfig) -> dict[str, str]:
    if config.messaging_service_sid:
        return {"MessagingServiceSid": config.messaging_service_sid}
    if config.sms_from:
        return {"From": config.sms_from}
    raise Misconfigured("sms settings", "TWILIO_SMS_FROM or TWILIO_MESSAGING_SERVICE_SID is needed")
