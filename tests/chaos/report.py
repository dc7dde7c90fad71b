"""The proof as a page and as JSON, and the life of a message that went wrong."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.bill import MessageView
from bot.engine.embedded import find_server
from bot.settings import IN_DOUBT
from tests.chaos.evidence import Case, takes
from tests.chaos.judge import Duplicates, Offence
from tests.chaos.plan import CHANNELS, PROCESSES
from tests.chaos.run import Outcome

_LIVES, _LOG_LINES = 5, 12
_NEAR_S = 12.0
_CAN_BE_ASKED = ("sms", "whatsapp")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures. Times in seconds."""

    clean: bool
    seed: int
    date: str
    command: str
    machine: dict[str, str]
    shares: int
    messages: int
    taken_by_providers: int
    payments: int
    lost: int
    taken_twice_unflagged: int
    taken_twice_although_asking_is_possible: int
    taken_after_the_fence: int
    taken_after_the_fence_by_a_frozen_process: int
    taken_within_the_request_timeout_after_the_lease: int
    taken_while_the_sandbox_kept_everybody_waiting: int
    found_under_an_older_name: int
    receipts_missing: int
    receipts_double: int
    receipts_that_staff_must_decide: int
    ledger: str
    duplicates: dict[str, Duplicates]
    policies: dict[str, str]
    by_channel: dict[str, int]
    by_kind: dict[str, int]
    outcomes: dict[str, int]
    held_for_staff: int
    dead_letters: int
    killed: dict[str, int]
    frozen: dict[str, int]
    frozen_messages: int
    server_killed: int
    exits: dict[str, int]
    stopped_badly: list[str]
    not_taken_at_first: dict[str, int]
    pauses: dict[str, int]
    faults: dict[str, dict[str, int]]
    sandbox_late_ms: int
    sandbox_kept_waiting_s: float
    storm_s: float
    calm_s: float
    messages_a_second: float
    settings: dict[str, str]
    offences: list[Offence]


def proof(outcome: Outcome, command: str) -> Proof:
    """The figures of a run."""
    j = outcome.judgement
    return Proof(
        clean=outcome.clean,
        seed=outcome.plan.seed,
        date=outcome.began.date().isoformat(),
        command=command,
        machine=_machine(),
        shares=outcome.plan.scale.shares,
        messages=j.messages,
        taken_by_providers=j.taken,
        payments=outcome.payments,
        lost=j.lost,
        taken_twice_unflagged=j.twice,
        taken_twice_although_asking_is_possible=j.avoidable,
        taken_after_the_fence=j.after_payment,
        taken_after_the_fence_by_a_frozen_process=j.after_payment_frozen,
        taken_within_the_request_timeout_after_the_lease=j.on_its_way,
        taken_while_the_sandbox_kept_everybody_waiting=j.kept_waiting,
        found_under_an_older_name=j.adopted_twins,
        receipts_missing=j.receipts_missing,
        receipts_double=j.receipts_double,
        receipts_that_staff_must_decide=j.receipts_with_staff,
        ledger=outcome.ledger if outcome.stuck is None else f"{outcome.ledger}; not at rest: {outcome.stuck}",
        duplicates={channel: j.duplicates.get(channel, Duplicates()) for channel in CHANNELS},
        policies={**dict(IN_DOUBT), **dict(outcome.settings.in_doubt)},
        by_channel=j.by_channel,
        by_kind=j.by_kind,
        outcomes=j.outcomes,
        held_for_staff=j.held,
        dead_letters=j.dead,
        killed=_by_role(outcome, "kill"),
        frozen=_by_role(outcome, "freeze"),
        frozen_messages=sum(len(each.held) for each in outcome.struck),
        server_killed=sum(each.what == "outage" for each in outcome.struck),
        exits=dict(outcome.exits),
        stopped_badly=outcome.stopped_badly,
        not_taken_at_first=dict(outcome.answers),
        pauses=dict(outcome.pauses),
        faults=outcome.faults,
        sandbox_late_ms=outcome.lag_ms,
        sandbox_kept_waiting_s=round(outcome.longest_knock_s, 1),
        storm_s=round(outcome.storm_s, 1),
        calm_s=round(outcome.calm_s, 1),
        messages_a_second=round(j.taken / (outcome.storm_s + outcome.calm_s), 1),
        settings=dict(outcome.tuned),
        offences=j.offences[:50],
    )


def _machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "server": find_server().name,
    }


def _by_role(outcome: Outcome, what: str) -> dict[str, int]:
    roles = Counter(PROCESSES[each.whom][0] for each in outcome.struck if each.what == what)
    return dict(sorted(roles.items()))


# ----------------------------------------------------------------------------- the page


def page(proof: Proof) -> str:
    """The proof as Markdown."""
    return "\n".join([_HEAD.format(p=proof), *_verdict(proof), *_duplicates(proof), *_weather(proof), _TAIL])


_HEAD = """# Proof: chaos

Written by `{p.command}`; the same figures for programs are in [chaos.json](chaos.json). Seed {p.seed}, {p.date},
{p.machine[cores]} cores, Python {p.machine[python]}, {p.machine[system]}.

Real tuma processes on a real Valkey (fsync `always`) and on the [sandbox](../sandbox.md) with its profile `storm`: one
request in five meets a fault, half of those after it was taken. {p.shares} bills came in over HTTP and the inbox on
routes `all` and `first`, order and customer numbers, with reminders seconds apart; customers paid in full, in part,
in two halves, or failed first, and webhooks were doubled, delayed and forged. Meanwhile processes of every role were
killed and frozen and the server was killed, at moments that follow from the seed. What counts is the sandbox's record
of what each provider took, not what tuma says of itself.
"""


def _verdict(p: Proof) -> Iterator[str]:
    killed, frozen = sum(p.killed.values()), sum(p.frozen.values())
    yield (
        f"{p.messages:,} messages, {p.taken_by_providers:,} taken by providers, {p.payments:,} payments in "
        f"{p.storm_s:.0f} s of storm and {p.calm_s:.0f} s until all was at rest; {killed} kills, {frozen} freezes, "
        f"{p.server_killed} times the server.\n"
    )
    yield from _table(
        ("Promise", "Broken"),
        [
            (
                "Lost: accepted, and then neither sent nor shown to staff; or taken and unknown to tuma",
                p.lost,
            ),
            ("Taken twice without being flagged as a possible duplicate", p.taken_twice_unflagged),
            (
                "Taken twice and flagged, though the provider can be asked and no process was frozen",
                p.taken_twice_although_asking_is_possible,
            ),
            (
                "Handed out after the webhook's 200, or taken later than lease and request timeout after it",
                p.taken_after_the_fence,
            ),
            ("Receipts missing", p.receipts_missing),
            ("Receipts double", p.receipts_double),
            ("`tuma doctor --ledger`", p.ledger),
            ("Processes that did not end well on SIGTERM", len(p.stopped_badly)),
        ],
    )
    yield (
        f"Beside the promises: {p.taken_after_the_fence_by_a_frozen_process} messages asked for money after the "
        f"fence because the process that held them was frozen between its check and its write; "
        f"{p.taken_within_the_request_timeout_after_the_lease} were on their way to a slow provider when the lease "
        f"ended, and {p.taken_while_the_sandbox_kept_everybody_waiting} stood in the accept queue of a sandbox that "
        f"kept connections waiting for up to {p.sandbox_kept_waiting_s} s; "
        f"{p.found_under_an_older_name} were found at Twilio under the name of an older message with the same "
        f"text to the same person, which was in doubt, too; "
        f"{p.held_for_staff} messages are held for staff, who alone can find out whether they arrived, and "
        f"{p.dead_letters} dead letters in all wait for staff, {p.receipts_that_staff_must_decide} of them receipts.\n"
    )


def _duplicates(p: Proof) -> Iterator[str]:
    yield "## Possible duplicates\n"
    yield (
        "Flagged are messages that were sent a second time after a doubt: at most once each. Twilio is asked first, "
        "and a message that it does not have is sent again, flagged; mail and Telegram cannot be asked.\n"
    )
    rows = [
        (
            channel,
            p.by_channel.get(channel, 0),
            p.policies[channel],
            "yes" if channel in _CAN_BE_ASKED else "no",
            found.flagged,
            found.taken_twice,
            found.frozen,
        )
        for channel, found in p.duplicates.items()
    ]
    head = (
        "Channel",
        "Messages",
        "Policy",
        "Can be asked",
        "Flagged",
        "Taken twice",
        "Held by a frozen process",
    )
    yield from _table(head, rows)
    yield "The policy is that of messages that ask for money; receipts are sent again.\n"


def _weather(p: Proof) -> Iterator[str]:
    yield "## What happened\n"
    roles = sorted({*p.killed, *p.frozen})
    yield from _table(
        ("Role", "Killed", "Frozen"), [(r, p.killed.get(r, 0), p.frozen.get(r, 0)) for r in roles]
    )
    yield f"Frozen processes held {p.frozen_messages} messages. Faults that providers met requests with:\n"
    rows = [
        (provider, sum(kinds.values()), ", ".join(f"{k} {n}" for k, n in kinds.items()))
        for provider, kinds in p.faults.items()
    ]
    yield from _table(("Provider", "Faults", "Of which"), rows)
    yield from _table(
        ("Messages", "Count"),
        [*p.by_kind.items(), *((f"ended as {name}", count) for name, count in p.outcomes.items())],
    )
    told = ", ".join(f"{name} {count}" for name, count in p.not_taken_at_first.items()) or "none"
    exits = ", ".join(f"{name}: {count}" for name, count in p.exits.items()) or "none"
    pauses = ", ".join(f"{name}: {count}" for name, count in p.pauses.items()) or "none"
    yield f"- What the producer was answered before its shares were taken: {told}."
    yield f"- Processes that ended by themselves, and were started again: {exits}."
    yield f"- Channels that tuma paused: {pauses}."
    yield f"- {p.messages_a_second} messages a second on average, sandbox and restarts included."
    settings = ", ".join(f"`{name}={value}`" for name, value in p.settings.items())
    yield f"- Settings that are not the defaults: {settings}.\n"


_TAIL = """## How it is judged

- Twilio's callbacks and a mail's Message-ID carry tuma's message id. Telegram carries none: there the id in its answer
  tells, else chat, text and time (each customer here has a chat of their own).
- The fence is the moment at which the sandbox had read the 200 to the webhook that settles the bill (for an order
  number: to its first payment). Times are the sandbox's own.
- Whether the sandbox itself keeps connections waiting is measured by a new one every half second. Only a message that
  was handed out before the fence, and taken while a knock from before waited as long, is excused by it.
- What a frozen process held is read from Redis right after SIGSTOP; only those messages count as frozen.
- `lost` also counts a message that still waits when all is calm, and one that failed without being a dead letter.

```sh
make chaos                              # this page, about ten minutes on two cores
make chaos ARGS="--quick"               # a minute, writes nothing
make chaos ARGS="--seed 7 --keep /tmp/chaos"
```

Exit code 1 if a promise was broken; then the seed, the offending messages and their lives are printed."""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row)} |"
    yield ""


def write(proof: Proof, folder: Path) -> None:
    """Put both forms into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.md").write_text(page(proof) + "\n", encoding="utf-8")
    (folder / "chaos.json").write_bytes(msgspec.json.format(msgspec.json.encode(proof)) + b"\n")


# ----------------------------------------------------------------------------- what went wrong


def lives(outcome: Outcome, logs: Path) -> Iterator[str]:
    """Everything that is known of the first offences."""
    found = {view.id: (case, view) for case, view in outcome.evidence.messages()}
    for offence in islice(outcome.judgement.offences, _LIVES):
        yield f"\n{offence.rule}: share {offence.share}, message {offence.message}: {offence.what}"
        if offence.message in found:
            yield from _life(outcome, *found[offence.message], logs)
        else:
            cases = (case for case in outcome.evidence.cases if case.customer.share == offence.share)
            for case in cases:
                yield from _share(outcome, case)


def _share(outcome: Outcome, case: Case) -> Iterator[str]:
    yield f"  {case.customer}"
    for view in case.share.messages if case.share else ():
        yield f"  {_line(outcome, view)}"
    yield from _paid(outcome, case)


def _life(outcome: Outcome, case: Case, view: MessageView, logs: Path) -> Iterator[str]:
    yield f"  {_line(outcome, view)}"
    for message in takes(outcome.evidence, view):
        yield f"  {_at(outcome, message.at)} taken by {message.provider} as {message.id} ({message.reference})"
    yield from _paid(outcome, case)
    ends = [view.created_at, *(message.at for message in takes(outcome.evidence, view)), view.sent_at]
    times = [each.timestamp() for each in ends if each]
    for strike in outcome.struck:
        if min(times) - _NEAR_S <= strike.at.timestamp() <= max(times) + _NEAR_S:
            held = ", held it" if view.id in strike.held else ""
            yield f"  {_at(outcome, strike.at)} {strike.what} {strike.whom} {strike.lasted_s:.1f} s{held}"
    yield from islice(_logged(logs, view.id), _LOG_LINES)


def _logged(logs: Path, message_id: str) -> Iterator[str]:
    _, _, local = message_id.partition("-")
    for file in sorted(logs.glob("*.log")):
        for line in file.read_text(errors="replace").splitlines():
            if local in line:
                yield f"  {file.name}: {line}"


def _line(outcome: Outcome, view: MessageView) -> str:
    flag = ", flagged" if view.possible_duplicate else ""
    sent = f", sent {_at(outcome, view.sent_at)}" if view.sent_at else ""
    return (
        f"{_at(outcome, view.created_at)} {view.id} {view.kind} {view.channel}: {view.outcome or view.state}"
        f" ({view.reason}; {view.error}), attempts {view.attempts}{flag}{sent}, delivery {view.delivery}"
    )


def _paid(outcome: Outcome, case: Case) -> Iterator[str]:
    for payment in case.payments:
        told = _at(outcome, payment.told) if payment.told else "never"
        yield f"  {_at(outcome, payment.created)} payment {payment.status} {payment.amount}, webhook answered {told}"


def _at(outcome: Outcome, at: datetime) -> str:
    return f"{(at - outcome.began).total_seconds():8.3f} s"
