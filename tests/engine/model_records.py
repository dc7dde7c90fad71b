"""What a bill, a share, a message and a payment are to the model (tests/engine/model.py): facts, and what follows from
them alone. Times are ms, money is in minor units.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FENCED = ("instructions", "reminder")
KIND = {"sms": "phone", "whatsapp": "phone", "email": "email", "telegram": "telegram"}
Contact = tuple[str, str]


@dataclass(eq=False)
class Message:
    """One communication over one channel."""

    share: Share
    n: int
    channel: str
    kind: str
    lane: str
    made: int
    valid: int
    rung: bool
    payment: str | None = None
    maybe_second: bool = False
    state: str = "queued"
    outcome: str = ""
    why: str = ""
    attempt: int = 0
    tries: int = 0
    wished: int = 0
    said_by: str = ""
    again: int = 0
    rank: int = -1
    provider_id: str = ""
    to: str = ""
    consumer: str = ""
    entry: int = 0
    confirmed: bool = False
    moved_on: bool = False
    next_rung: bool = False
    buried: str = ""
    replayed: str = ""

    @property
    def wish(self) -> int:
        """When it was asked for: by the message in whose place it came, if there was one."""
        return self.wished or self.made

    @property
    def first_try(self) -> bool:
        """Whether nothing was tried yet that a provider could have taken or refused."""
        return self.tries == 0 and not self.maybe_second

    @property
    def id(self) -> str:
        return f"{self.share.sid}.{self.n}"

    @property
    def fenced(self) -> bool:
        return self.kind in FENCED

    @property
    def waits(self) -> bool:
        return self.state in ("scheduled", "queued")

    @property
    def newest(self) -> bool:
        return self.share.latest.get(self.channel) == self.n


@dataclass(eq=False)
class Share:
    """The wish to get one term of a bill to one contact."""

    sid: str
    id: str
    bill: Bill
    term: str
    route: str
    wanted: list[str]
    channels: list[str]
    at: dict[str, str]
    lane: str
    confirm_within: int
    plan: list[int]
    silent: dict[str, str]
    state: str = "active"
    reminded: int = 0
    works: str | None = None
    latest: dict[str, int] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    def address(self, channel: str) -> str | None:
        return self.at.get(KIND[channel])

    def usable(self, channel: str) -> bool:
        return self.address(channel) is not None and channel not in self.silent

    def rung_after(self, channel: str | None) -> str | None:
        start = self.channels.index(channel) + 1 if channel in self.channels else 0
        if channel is not None and channel not in self.channels:
            return None
        return next((ch for ch in self.channels[start:] if self.usable(ch)), None)

    @property
    def voices(self) -> list[str]:
        if self.route == "all":
            return [ch for ch in self.channels if self.usable(ch)]
        found = self.works if self.works and self.usable(self.works) else self.rung_after(None)
        return [found] if found else []


@dataclass(eq=False)
class Bill:
    """Everything under one control number."""

    number: str
    kind: str
    state: str = "open"
    amounts: dict[str, int] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    exact: dict[str, bool] = field(default_factory=dict)
    credit: int = 0
    undecided: int = 0
    halted: bool = False
    hinted: int = 0
    hold: int = 0
    told_failed: int = 0
    counted_at: int = 0
    contacts: dict[Contact, str] = field(default_factory=dict)
    shares: list[Share] = field(default_factory=list)

    def balance(self, term: str) -> int:
        return self.amounts.get(term, 0) - self.paid.get(term, 0)

    @property
    def owed(self) -> int:
        return sum(max(self.balance(term), 0) for term in self.amounts)

    def asks(self, share: Share) -> bool:
        """Whether this share may still ask for money."""
        return self.state == "open" and share.state == "active" and self.balance(share.term) > 0

    def group(self, share: Share) -> str:
        """Whose the share is: shares of one contact have one group."""
        known = (self.contacts.get(pair) for pair in sorted(share.at.items(), key=kind_order))
        return next((group for group in known if group), share.sid)


def kind_order(pair: Contact) -> int:
    return ("phone", "email", "telegram").index(pair[0])


@dataclass(eq=False)
class Payment:
    """What was told of one payment."""

    id: str
    number: str
    amount: int
    rank: int
    at: int
    told: bool = False
    counted: bool = False
    returned: bool = False
    holds: bool = False
    for_staff: bool = False
    early: bool = False
    early_at: int = 0
    why: str = ""
    given: dict[str, int] = field(default_factory=dict)
    credit: int = 0


@dataclass(frozen=True)
class Job:
    """What a producer asks for."""

    id: str
    number: str
    kind: str
    term: str
    amount: int
    exact: bool
    at: dict[str, str]
    channels: list[str]
    route: str
    lane: str
    plan: list[int]
    confirm_within: int
    additional: bool
