"""Messages: what they are for, where they stand, how they ended."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a message is for."""

    INSTRUCTIONS = "instructions"
    REMINDER = "reminder"
    RECEIPT = "receipt"
    PAYMENT_FAILED = "payment_failed"
    BILL_CHANGED = "bill_changed"
    CORRECTION = "correction"


class Lane(StrEnum):
    """Which queue a message waits in. Receipts and single shares are urgent; campaigns are bulk."""

    URGENT = "urgent"
    BULK = "bulk"


class State(StrEnum):
    """Where a message stands. Exactly one at any time; `tuma doctor --ledger` adds them up."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    HANDED_OUT = "handed_out"
    IN_DOUBT = "in_doubt"
    DONE = "done"


class Outcome(StrEnum):
    """How a done message ended."""

    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
