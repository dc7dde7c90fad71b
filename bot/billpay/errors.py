"""What a call to ClickPesa can end in, other than an answer. The texts are ClickPesa's, with contacts masked.

    ClickPesaError               a call that brought no usable answer
    +-- ClickPesaAway            no connection, no answer in time, an answer 5xx or one that cannot be read: what the
    |                            call was to do may have been done all the same
    +-- ClickPesaThrottled       too many requests; not done; wait
    |   +-- BudgetSpent          our own budget of requests is used up; nothing was sent
    +-- ClickPesaDenied          client id, API key or token are not accepted; not done
    +-- ClickPesaRefused         any other 4xx: this very request is at fault; not done
        +-- ClickPesaNotFound    nothing under this reference
        +-- ReferenceTaken       a control number with this reference exists already

Source: ClickPesa API reference, "Generate token", "BillPay", "Querying for payments"; 429 and 5xx are not documented.
"""

from __future__ import annotations

from bot.errors import TumaError


class ClickPesaError(TumaError):
    """A call that brought no usable answer. `status` is None when nothing was answered."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message if status is None else f"ClickPesa answered {status}: {message}")
        self.status = status


class ClickPesaAway(ClickPesaError):
    """No usable answer, so it is unknown whether it was done; a repeated call may work."""


class ClickPesaThrottled(ClickPesaError):
    """Too many requests; nothing was done. `retry_after_s` is how many seconds to wait, if that is known."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after_s = retry_after_s


class BudgetSpent(ClickPesaThrottled):
    """One call more than ClickPesa allows us: it was not made."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the budget of requests to ClickPesa is used up", retry_after_s=retry_after_s)


class ClickPesaDenied(ClickPesaError):
    """The client id, the API key or a fresh token is not accepted."""


class ClickPesaRefused(ClickPesaError):
    """The request itself is at fault; repeating it changes nothing."""


class ClickPesaNotFound(ClickPesaRefused):
    """Nothing is known under this reference."""


class ReferenceTaken(ClickPesaRefused):
    """A control number with this reference exists already: ours from an earlier try, or another one."""
