"""What a failed send means for the message: one class per decision, whatever the provider called it.

    ChannelError
    +-- RecipientInvalid    this address can never be reached here: suppress it, go on to the next channel
    +-- RecipientOptedOut   the person said no here: suppress, never evade
    +-- ContentRejected     this message is at fault, not the person and not our account: dead letter
    +-- Misconfigured       our account, sender or template is at fault: pause the channel, keep every message
    +-- Unavailable         not taken by the provider, and may work later: retry
    +-- Throttled           not taken, too fast: wait, costs no attempt
    +-- Uncertain           may have been taken: in doubt, ask before sending again
    |   +-- Unaskable       asked about a message in doubt: whoever may have it answers no such question
    +-- LeaseExpired        never left us, the lease ran out first: give the message back

Texts never hold an address, a message body or a credential: they are stored, logged and shown to staff.
"""

from __future__ import annotations


class ChannelError(Exception):
    """A send that did not succeed.

    `code` is the provider's own code as text ("21610", "smtp 550 5.1.1", "telegram 403"), `detail` one line for staff.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class RecipientInvalid(ChannelError):
    """The address cannot be reached on this channel, ever or until it is edited."""


class RecipientOptedOut(ChannelError):
    """The person stopped messages, or blocked us, on this channel."""


class ContentRejected(ChannelError):
    """The provider refuses this very message; the next one may pass."""


class Misconfigured(ChannelError):
    """Credentials, sender, funds, permissions or template: nothing passes until somebody mends it.

    `perhaps_recipient`: it may also concern this recipient alone (no route there, filtered); several in a row do not.
    """

    def __init__(self, code: str, detail: str, *, perhaps_recipient: bool = False) -> None:
        super().__init__(code, detail)
        self.perhaps_recipient = perhaps_recipient


class Unavailable(ChannelError):
    """Certainly not taken (refused connection, DNS failure, 4yz reply), or taken and not delivered; may work later.

    `most_retries` is how often it is worth trying again, None where only the message's validity bounds it.
    """

    def __init__(
        self, code: str, detail: str, *, retry_after_s: float | None = None, most_retries: int | None = None
    ) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s
        self.most_retries = most_retries


class Throttled(ChannelError):
    """Certainly not taken because we are too fast. `whole_channel`: pause everybody, not only this recipient."""

    def __init__(
        self, code: str, detail: str, *, retry_after_s: float | None = None, whole_channel: bool = False
    ) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s
        self.whole_channel = whole_channel


class Uncertain(ChannelError):
    """The request may have been taken: timeout, reset or 5xx after it went out.

    `provider` names who may have it, where a channel has several.
    """

    provider: str | None = None


class Unaskable(Uncertain):
    """Raised when asking, never when sending: the message stays in doubt, and no later question will settle it."""


class LeaseExpired(ChannelError):
    """The lease ended before the first byte of the request was written; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("lease", "the lease ended before the request was written")
