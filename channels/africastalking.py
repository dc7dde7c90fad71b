"""SMS through Africa's Talking: one request per message, queued by it and sent on afterwards.

What it does not have, and what follows: no id of ours goes along, so reports are told to their message by the id in
its answer (`ReceiptBook`); messages cannot be looked up, so what is in doubt here stays in doubt; there is no
validity period for bulk messages, so a network may still deliver one that is late. Where its opt-out service is on,
it adds instructions to the first message a person gets.

Source: https://developers.africastalking.com/docs/sms/sending/bulk; for the balance
http://docs.africastalking.com/userdata/balance; for the request as it is made the official SDKs
(AfricasTalkingLtd/africastalking-python `SMS.py`, africastalking-node.js `lib/sms.js`). `messageParts` is in its
answers, but in no document.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal, InvalidOperation
from urllib.parse import urlencode

import msgspec

from channels.africastalking_codes import of_http, of_recipient, of_request, taken
from channels.base import Accepted, ChannelName, Outgoing, Probe, SmsContent
from channels.config import AfricasTalkingConfig
from channels.errors import ChannelError, ContentRejected, Misconfigured, RecipientInvalid, Uncertain
from channels.forms import encode
from channels.http_exchange import Answer, HttpExchange, retry_after_s
from channels.leased import lease
from channels.sms_shared import ReceiptBook

PROVIDER = "africastalking"
_FORM = "application/x-www-form-urlencoded"
_REPORTS_HINT = (
    "set AFRICASTALKING_CALLBACK_TOKEN, and the address of delivery reports in the dashboard (SMS, SMS Callback URLs); "
    "until then nobody says what became of a message"
)
_log = logging.getLogger(__name__)


class _Recipient(msgspec.Struct):
    status_code: int = msgspec.field(name="statusCode")
    message_id: str | None = msgspec.field(name="messageId", default=None)
    parts: int | None = msgspec.field(name="messageParts", default=None)


class _Data(msgspec.Struct):
    message: str = msgspec.field(name="Message", default="")
    recipients: list[_Recipient] = msgspec.field(name="Recipients", default_factory=list)


class _Answer(msgspec.Struct):
    data: _Data = msgspec.field(name="SMSMessageData")


class AfricasTalking:
    """The SMS channel of one application. Raises Misconfigured when made without credentials."""

    name = ChannelName.SMS

    def __init__(self, config: AfricasTalkingConfig, receipts: ReceiptBook | None = None) -> None:
        if not config.username or not config.api_key:
            raise Misconfigured(
                "africastalking settings", "AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY are needed"
            )
        self.concurrency = config.concurrency
        self.request_timeout_s = config.timeout_s
        self._config, self._receipts = config, receipts
        self._exchange = HttpExchange(
            PROVIDER, "Africa's Talking", timeout_s=config.timeout_s, connections=config.concurrency
        )
        self._remembering: set[asyncio.Task[None]] = set()

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Queue one message there. Errors: every ChannelError."""
        body = encode(self._form(outgoing))
        headers = self._headers() | {"Content-Type": _FORM}
        with lease(outgoing.deadline):
            answer = await self._exchange.request("POST", self._url("messaging"), headers, body)
        accepted = _accepted(answer)
        self._remember(accepted.provider_id, outgoing.message_id)
        return accepted

    def _form(self, outgoing: Outgoing) -> dict[str, str]:
        if not isinstance(outgoing.content, SmsContent):
            raise ContentRejected("sms content", "this is not a text message")
        if "," in outgoing.to:  # there it would be several people
            raise RecipientInvalid("africastalking number", "not one number")
        form = {
            "username": self._config.username,
            "to": outgoing.to,
            "message": outgoing.content.text,
            # The sender's account pays. Queued: the answer does not wait for a network, so less is left in doubt.
            "bulkSMSMode": "1",
            "enqueue": "1",
        }
        return form | ({"from": self._config.sender} if self._config.sender else {})

    def _remember(self, provider_id: str, message_id: str) -> None:
        """Beside the send, which is over: the message is taken, whether or not this can be written down."""
        if self._receipts is None:
            return
        task = asyncio.get_running_loop().create_task(self._note(self._receipts, provider_id, message_id))
        self._remembering.add(task)
        task.add_done_callback(self._remembering.discard)

    async def _note(self, receipts: ReceiptBook, provider_id: str, message_id: str) -> None:
        try:
            await receipts.remember(PROVIDER, provider_id, message_id)
        except Exception as error:  # whatever the book is made of
            _log.warning("reports of message %s will not be understood: %s", message_id, type(error).__name__)

    async def probe(self) -> Probe:
        """Read the account's balance; sends nothing and costs nothing."""
        query = urlencode({"username": self._config.username})
        try:
            answer = await self._exchange.request("GET", f"{self._url('user')}?{query}", self._headers())
        except ChannelError as error:
            return Probe(False, str(error), ("check AFRICASTALKING_API_BASE and the network",))
        if answer.status != 200:
            hint = "check AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY; a new key takes some minutes"
            return Probe(False, str(of_http(answer.status)), (hint,))
        return self._balance(answer)

    def _balance(self, answer: Answer) -> Probe:
        balance = _read_balance(answer.text)
        if balance is None:
            return Probe(False, "the answer is not Africa's Talking's", ("check AFRICASTALKING_API_BASE",))
        shown = f"balance {balance[0]} {balance[1]:,.2f}"
        if balance[1] <= 0:
            return Probe(False, shown, ("top the application up at Africa's Talking",))
        return Probe(True, shown, () if self._config.reports else (_REPORTS_HINT,))

    async def close(self) -> None:
        """Finish what is being written down, and close every connection."""
        await asyncio.gather(*self._remembering)
        await self._exchange.close()

    def _url(self, resource: str) -> str:
        return f"{self._config.api_base.rstrip('/')}/version1/{resource}"

    def _headers(self) -> dict[str, str]:
        return {"apiKey": self._config.api_key, "Accept": "application/json"}


def _accepted(answer: Answer) -> Accepted:
    data = _data(answer.text) if answer.status < 500 else None  # a 5xx may come from a proxy in front
    if data is None or not (data.recipients or 200 <= answer.status < 300):
        raise of_http(answer.status, retry_after_s(answer.headers))
    if not data.recipients:
        raise of_request(data.message)
    recipient = data.recipients[0]
    delivery = taken(recipient.status_code)
    if delivery is None:
        raise of_recipient(recipient.status_code)
    if recipient.message_id in (None, "", "None"):
        raise Uncertain("africastalking answer", "taken, but without an id")
    return Accepted(str(recipient.message_id), delivery, recipient.parts or None)


def _data(text: str) -> _Data | None:
    try:
        return msgspec.json.decode(text, type=_Answer, strict=False).data
    except (msgspec.DecodeError, ValueError):
        return None


def _read_balance(text: str) -> tuple[str, Decimal] | None:
    """Currency and amount. The documents write both `UserData` and `userData`."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, dict[str, str]])
        currency, amount = (fields.get("UserData") or fields["userData"])["balance"].split()
        return currency, Decimal(amount.replace(",", ""))
    except (msgspec.DecodeError, ValueError, KeyError, InvalidOperation):
        return None
