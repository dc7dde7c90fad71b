"""Every Redis key and every id, in one place; nothing else in tuma spells one.

`p` is a partition. A key in braces shares one hash slot with everything of that partition.

    tuma:partitions          string  number of partitions, fixed at the first start
    tuma:format              string  version of the records, see engine.check_format
    tuma:keys                hash    API keys (bot.engine.api_keys)
    tuma:bot:<bot id>:...    the staff bot's own memory (bot.staff.memory)
    tuma:bot:username        string  the bot's user name, for deep links
    tuma:audit               stream  what staff did
    tuma:token:<name>        string  cached provider token, with its lifetime
    tuma:lease:<name>        string  the process that alone does something now (bot.engine.leases)
    tuma:{clickpesa}:...     calls to ClickPesa: spent, day:<day>, rest (lua/call.lua), sweep, told (bot.engine.sweeps)
    tuma:receipt:<provider>:<id>  string  the message that an SMS provider means by one of its ids
    tuma:early:<provider>:<id>    list    its reports that came before that was known
    tuma:sms:<minute>        hash    what all processes saw of the SMS providers in a minute since 1970
    tuma:{limits}:rate:<channel>  hash    what a sender may send: see lua/lease.lua
    tuma:{limits}:busy:<provider> hash    requests under way, by consumer and channel
    tuma:{limits}:chat:<chat id>  string  when this chat may get a message again, in us
    tuma:check:<hash>        string  how often somebody asked whether a bill is real, for an hour
    tuma:inbox               stream  share jobs of any producer; on a cluster also tuma:inbox:{p}
    tuma:rejected            stream  jobs that could not be taken: job, error, entry
    tuma:{p}:price           hash    cost cap and prices, only where a cap is set (bot.engine.costs)
    tuma:{p}:...             everything of an account, see lua/_lib.lua
    tuma:{p}:ids:<n>         hash    what ids stand for, p = crc32(share id) % partitions; `bill <id>` of a bill
    tuma:{p}:c:<share id>    hash    claim of such an id whose number is being made, or was refused
    tuma:{p}:k:<kind>:<addr> hash    contact: consent, chat, last inbound, its numbers
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple
from zlib import crc32

from bot.errors import NotFound

PARTITIONS = "tuma:partitions"
FORMAT = "tuma:format"
INBOX = "tuma:inbox"
REJECTED = "tuma:rejected"
AUDIT = "tuma:audit"
BOT_USERNAME = "tuma:bot:username"
GROUP = "w"
_BILL = "bill "
LIMITS = "tuma:{limits}:"
# A hash with few fields is kept packed: up to the server's 512 each that is two million ids in one partition, 100 bytes
# a piece and less the more there are.
IDS = 4096
_TOKEN = re.compile(r"([0-9a-f]{1,4})-([A-Za-z0-9_-]{16})")
_MESSAGE = re.compile(r"([0-9a-f]{1,4})-([A-Za-z0-9_-]{16}\.[0-9]{1,6})")
_LINK = re.compile(r"([0-9a-f]{1,4})-([A-Za-z0-9_-]{16})-([A-Za-z0-9_-]{16})")


class Local(NamedTuple):
    """A public id split into its partition and what names the record inside it."""

    partition: int
    name: str


def partition(text: str, partitions: int) -> int:
    """The partition of a control number, share id or contact."""
    return crc32(text.encode()) % partitions


def prefix(p: int) -> str:
    """What every key of partition `p` starts with."""
    return f"tuma:{{{p}}}:"


def pattern(start: str) -> str:
    """A SCAN pattern for keys that begin with `start`, whose braces are meant as such."""
    return start.replace("{", "[{]").replace("}", "[}]") + "*"


def partition_format(p: int) -> str:
    """Where a newer tuma says that it was here; absent for the first format."""
    return f"{prefix(p)}format"


def claim(p: int, share_id: str) -> str:
    """The claim record of a producer's share id, or of a bill's `bill_claim`, while its number is being made."""
    return f"{prefix(p)}c:{share_id}"


def ids(p: int, name: str) -> str:
    """Which hash of partition `p` says what a claimed id stands for."""
    # The other end of the checksum that chose the partition.
    return ids_in(p, crc32(name.encode()) * IDS >> 32)


def ids_in(p: int, n: int) -> str:
    """The hash `n`, below IDS, of those."""
    return f"{prefix(p)}ids:{n}"


def bill_claim(bill_id: str) -> str:
    """What a bill's id is claimed as; a share id holds no space, so the two cannot meet."""
    return f"{_BILL}{bill_id}"


def is_bill(name: str) -> bool:
    """Whether a claim's name is that of a bill."""
    return name.startswith(_BILL)


def contact_partition(kind: str, address: str, partitions: int) -> int:
    """Where a contact lives."""
    return partition(f"{kind}:{address}", partitions)


def contact(kind: str, address: str, partitions: int) -> str:
    """The record of a contact: `kind` is phone, email or telegram."""
    return contact_in(contact_partition(kind, address, partitions), kind, address)


def contact_in(p: int, kind: str, address: str) -> str:
    """The same for a contact that lives in partition `p`."""
    return f"{prefix(p)}k:{kind}:{address}"


def inbox(p: int | None = None) -> str:
    """The shared inbox, or the one in partition `p`'s slot."""
    return INBOX if p is None else f"{INBOX}:{{{p}}}"


def receipt(provider: str, provider_id: str) -> str:
    """The message that a provider means by one of its ids."""
    return f"tuma:receipt:{provider}:{provider_id}"


def early(provider: str, provider_id: str) -> str:
    """Reports of a provider that came before its id was known."""
    return f"tuma:early:{provider}:{provider_id}"


def checks(asker: str) -> str:
    """How often somebody, known by a hash alone, asked whether a bill is real."""
    return f"tuma:check:{asker}"


def sms_minute(minute: int) -> str:
    """What was seen of the SMS providers in one minute since 1970."""
    return f"tuma:sms:{minute}"


def lease(name: str) -> str:
    """Who alone does `name` now."""
    return f"tuma:lease:{name}"


def clickpesa(name: str) -> str:
    """What processes share about their calls to ClickPesa; one slot, as one script uses several."""
    return f"tuma:{{clickpesa}}:{name}"


def fresh_secret() -> str:
    """Sixteen characters that cannot be guessed, to end a link with: no dash at the end.

    Android's Linkify ends a link in a text at a word's boundary, and would leave that dash out of it.
    """
    while (made := secrets.token_urlsafe(12)).endswith("-"):
        pass
    return made


def fresh_sid() -> str:
    """A new share's inner name: nearly 96 random bits, so that a page address cannot be guessed."""
    return fresh_secret()


def token(p: int, sid: str) -> str:
    """A share's public token: it opens the customer's page and carries its partition."""
    return f"{p:x}-{sid}"


def message_id(p: int, local: str) -> str:
    """A message's public id."""
    return f"{p:x}-{local}"


def link_payload(p: int, sid: str, secret: str) -> str:
    """Payload of a Telegram deep link: at most 64 characters of A-Za-z0-9_-."""
    return f"{p:x}-{sid}-{secret}"


def _split(pattern: re.Pattern[str], text: str, what: str, partitions: int) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None or int(match[1], 16) >= partitions:
        raise NotFound(f"no such {what}")
    return match


def parse_token(text: str, partitions: int) -> Local:
    """Split a share's token. Raises NotFound for anything that is none."""
    match = _split(_TOKEN, text, "page", partitions)
    return Local(int(match[1], 16), match[2])


def parse_message_id(text: str, partitions: int) -> Local:
    """Split a message id. Raises NotFound for anything that is none."""
    match = _split(_MESSAGE, text, "message", partitions)
    return Local(int(match[1], 16), match[2])


def parse_link(text: str, partitions: int) -> tuple[int, str, str]:
    """Split a deep link payload into partition, sid and secret. Raises NotFound for anything that is none."""
    match = _split(_LINK, text, "link", partitions)
    return int(match[1], 16), match[2], match[3]
