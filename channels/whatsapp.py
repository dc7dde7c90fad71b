"""WhatsApp through Twilio: an approved template outside the 24 h window, free text inside it.

Meta refuses free text outside the window only after Twilio accepted it (63016), and fills a variable that is
missing with the template's sample value: so both are checked here, before anything is sent.

Source: https://www.twilio.com/docs/whatsapp/api,
https://www.twilio.com/docs/content/using-variables-with-content-api, errors 63013, 63016 and 63021.
"""

from __future__ import annotations

import json
import re

from channels.base import Accepted, ChannelName, Outgoing, Probe, Trace, WhatsAppContent
from channels.config import TwilioConfig
from channels.errors import ContentRejected, Misconfigured
from channels.twilio_api import TwilioApi

PREFIX = "whatsapp:"
# What Meta refuses in a variable (63013): nothing in it, line breaks, tabs, more than four spaces running.
_REFUSED_VALUE = re.compile(r"\A\s*\Z|[\r\n\t]| {5,}")
LONGEST_VALUE = 1600


class WhatsApp:
    """The WhatsApp channel. Raises Misconfigured when made without credentials or a sender."""

    name = ChannelName.WHATSAPP

    def __init__(self, config: TwilioConfig) -> None:
        if not config.whatsapp_from:
            raise Misconfigured("whatsapp settings", "TWILIO_WHATSAPP_FROM is needed")
        self.concurrency = config.concurrency
        self.request_timeout_s = config.timeout_s
        self._from = PREFIX + config.whatsapp_from.removeprefix(PREFIX)
        self._api = TwilioApi(config)

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Create one message. Errors: every ChannelError; ContentRejected when no template covers it."""
        if not isinstance(outgoing.content, WhatsAppContent):
            raise ContentRejected("whatsapp content", "this is not a WhatsApp message")
        form = {"To": PREFIX + outgoing.to, "From": self._from, **_body(outgoing.content)}
        return await self._api.create(outgoing, form)

    async def find(self, trace: Trace) -> Accepted | None:
        """Look for a message in doubt. Errors: ChannelError when Twilio cannot be asked now.

        Outside the window Twilio shows the template's text, which need not be ours: the number in it then decides.
        """
        return await self._api.find(PREFIX + trace.to, trace, templated=True)

    async def probe(self) -> Probe:
        """Fetch the account; sends nothing."""
        return await self._api.probe()

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()


def _body(content: WhatsAppContent) -> dict[str, str]:
    if content.window_open:
        return {"Body": content.text}
    if content.content_sid is None:
        raise ContentRejected(
            "whatsapp template", "no approved template for this message, and the window is shut"
        )
    return {"ContentSid": content.content_sid, "ContentVariables": _variables(content)}


def _variables(content: WhatsAppContent) -> str:
    for name, value in content.variables.items():
        if _REFUSED_VALUE.search(value) or len(value) > LONGEST_VALUE:
            raise ContentRejected("whatsapp variables", f"variable {name} is empty, too long or breaks lines")
    return json.dumps(dict(content.variables), ensure_ascii=False)
