"""The proof as a page and as JSON, and the life of a message that went wrong."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.engine.embedded import find_server
from bot.settings import IN_DOUBT
from tests.chaos.judge import FROZEN, KEPT_WAITING, ON_ITS_WAY, Duplicates, Offence, WithStaff
from tests.chaos.plan import CHANNELS, PROCESSES, StoreName
from tests.chaos.run import Outcome
from tests.chaos.stores import NAMED

_CAN_BE_ASKED = ("sms", "whatsapp")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures. Times in seconds."""

    clean: bool
    seed: int
    store: StoreName
    guarded: bool
    date: str
    command: str
    machine: dict[str, str]
    shares: int
    messages: int
    taken_by_providers: int
    payments: int
    lost: int
    taken_twice_unflagged: int
    sent_again_although_the_provider_had_it_and_can_be_asked: int
    attempts_lost_with_a_primary: int
    handed_out_after_the_fence: int
    taken_after_the_lease_without_a_reason: int
    taken_after_the_lease: dict[str, int]
    found_under_an_older_name: int
    receipts_missing: int
    receipts_double: int
    receipts_with_staff: dict[str, WithStaff]
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
    slots_moved: int
    without_a_primary_s: list[float]
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
        store=outcome.plan.scale.store,
        guarded=outcome.plan.scale.guarded,
        date=outcome.began.date().isoformat(),
        command=command,
        machine=_machine(),
        shares=outcome.plan.scale.shares,
        messages=j.messages,
        taken_by_providers=j.taken,
        payments=outcome.payments,
        lost=j.lost,
        taken_twice_unflagged=j.twice,
        sent_again_although_the_provider_had_it_and_can_be_asked=j.avoidable,
        attempts_lost_with_a_primary=j.attempts_lost,
        handed_out_after_the_fence=j.handed_out_late,
        taken_after_the_lease_without_a_reason=j.taken_late,
        taken_after_the_lease=j.after_lease,
        found_under_an_older_name=j.adopted_twins,
        receipts_missing=j.receipts_missing,
        receipts_double=j.receipts_double,
        receipts_with_staff=j.receipts_with_staff,
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
        slots_moved=sum(each.what == "migrate" for each in outcome.struck),
        without_a_primary_s=[round(each.promoted_s, 1) for each in outcome.struck if each.promoted_s],
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
    return "\n".join([_head(proof), *_verdict(proof), *_duplicates(proof), *_weather(proof), _TAIL])


_HEAD = """# Proof: {title}

Written by `{p.command}`; the same figures for programs are in [{name}.json]({name}.json). Seed {p.seed}, {p.date},
{p.machine[cores]} cores, Python {p.machine[python]}, {p.machine[system]}.

Real tuma processes on {store} and on the [sandbox](../sandbox.md) with its profile `storm`: one
request in five meets a fault, half of those after it was taken. {p.shares} bills came in over HTTP and the inbox on
routes `all` and `first`, order and customer numbers, with reminders seconds apart; customers paid in full, in part,
in two halves, or failed first, and webhooks were doubled, delayed and forged. Meanwhile processes of every role were
killed and frozen and the server was killed, at moments that follow from the seed. What counts is the sandbox's record
of what each provider took, not what tuma says of itself.
"""


def _head(p: Proof) -> str:
    name = _name(p.store)
    return _HEAD.format(p=p, name=name, title=name.replace("-", " on a "), store=NAMED[p.store])


def _name(store: StoreName) -> str:
    """Of the page and of its figures, without ending."""
    return "chaos" if store == "single" else f"chaos-{store}"


def _verdict(p: Proof) -> Iterator[str]:
    killed, frozen = sum(p.killed.values()), sum(p.frozen.values())
    yield (
        f"{p.messages:,} messages, {p.taken_by_providers:,} taken by providers, {p.payments:,} payments in "
        f"{p.storm_s:.0f} s of storm and {p.calm_s:.0f} s until all was at rest; {killed} kills, {frozen} freezes, "
        f"{p.server_killed} times the server.\n"
    )
    if p.store != "single":
        yield _failing_over(p)
    yield from _table(
        ("Promise", "Broken"),
        [
            (
                "Lost: accepted, and then neither sent nor shown to staff; or taken and unknown to tuma",
                p.lost,
            ),
            (
                "Taken twice without being flagged as a possible duplicate"
                + ("" if p.store == "single" else ", other than by the death of a primary (below)"),
                p.taken_twice_unflagged,
            ),
            (
                "Sent again (flagged), though the provider had it, can be asked, and no process was frozen",
                p.sent_again_although_the_provider_had_it_and_can_be_asked,
            ),
            ("Handed out after the webhook's 200, by tuma's own record", p.handed_out_after_the_fence),
            (
                "Taken later than the lease after that 200, and nothing explains it",
                p.taken_after_the_lease_without_a_reason,
            ),
            ("Receipts missing: no provider took it, and staff are not shown it", p.receipts_missing),
            ("Receipts double", p.receipts_double),
            ("`tuma doctor --ledger`", p.ledger),
            ("Processes that did not end well on SIGTERM", len(p.stopped_badly)),
        ],
    )
    yield "## Beside the promises\n"
    staff = p.receipts_with_staff.values()
    yield from _table(
        ("Not broken, and not hidden", "Count"),
        [
            *((_AFTER_LEASE[why], count) for why, count in p.taken_after_the_lease.items()),
            *([(_ATTEMPTS_LOST, p.attempts_lost_with_a_primary)] if p.store != "single" else []),
            ("Receipts that wait for staff, as dead letters", sum(each.receipts for each in staff)),
            *(
                (f"of them {why} (the provider has {each.taken})", each.receipts)
                for why, each in p.receipts_with_staff.items()
            ),
            ("Dead letters in all", p.dead_letters),
            (
                "Held for staff, who alone can find out whether they arrived (dead letters, too)",
                p.held_for_staff,
            ),
            (
                "Found at Twilio under the name of an older message with the same text to the same person, which "
                "was in doubt, too",
                p.found_under_an_older_name,
            ),
        ],
    )
    yield (
        "Of a receipt that was in doubt twice nobody can say whether it arrived: it was sent twice, and neither "
        "sending was answered. It is not sent a third time; staff see it, and what the provider has of it stands "
        f"beside it. The sandbox kept a connection waiting for up to {p.sandbox_kept_waiting_s} s.\n"
    )


_GUARDED = "`min-replicas-to-write 1`: without a replica they refuse to write, and nothing is sent"
_ATTEMPTS_LOST = (
    "Sent twice, as the record of the first attempt died with a primary: accept, settle, stop and opt-out alone wait "
    "for the replica"
)


def _failing_over(p: Proof) -> str:
    gaps = ", ".join(f"{gap} s" for gap in p.without_a_primary_s)
    moved = f" {p.slots_moved} partitions moved to another primary meanwhile." if p.slots_moved else ""
    return (
        f"Each time a primary was killed and its replica promoted ({gaps} later); the killed one came back as the "
        f"replica. Every second time the replica was cut off for a second before.{moved} `TUMA_REPLICAS=1`: what is "
        "accepted or settled is on the replica before tuma says so, and what the producer puts into the inbox waits "
        f"for it, too (`WAIT`). The servers have {_GUARDED if p.guarded else 'no `min-replicas-to-write`'}.\n"
    )


_AFTER_LEASE = {
    ON_ITS_WAY: "Taken later than the lease after the 200: handed out before, and begun within its lease, it "
    "was on its way no longer than a request may take",
    FROZEN: "Taken later than the lease: the process that held it was frozen between its check and its write",
    KEPT_WAITING: "Taken later than lease and request timeout: it stood in the accept queue of a busy sandbox",
}


def _duplicates(p: Proof) -> Iterator[str]:
    yield "## Possible duplicates\n"
    yield (
        "Flagged are messages that were sent a second time after a doubt: at most once each. Twilio is asked first; a "
        "message that it does not have after several questions is sent again, and flagged, as nobody can be surer "
        "than that. Mail and Telegram cannot be asked. The sandbox's records tell which of them were duplicates "
        "indeed: the provider had the first. Where it had nothing, the customer got the message once, and it is the "
        "flag that errs.\n"
    )
    rows = [
        (
            channel,
            p.by_channel.get(channel, 0),
            p.policies[channel],
            "yes" if channel in _CAN_BE_ASKED else "no",
            found.flagged,
            found.had_nothing,
            found.had_first,
            found.frozen,
            found.taken_twice,
        )
        for channel, found in p.duplicates.items()
    ]
    head = (
        "Channel",
        "Messages",
        "Policy",
        "Can be asked",
        "Flagged",
        "Provider had nothing",
        "Provider had the first",
        "of these held by a frozen process",
        "Taken twice",
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
- Handed out is what tuma's record of the message says (the worker's clock, just before it asked for messages; on one
  machine all clocks are one), and is judged without excuse. Taken is what the sandbox says;
  a request that began within its lease (2 s) may be under way for its timeout (2 s here) before it is taken.
- Whether the provider had the first of a flagged message: Twilio's callback address carries the attempt; a mail or a
  Telegram message was the first if it was taken before the second was handed out.
- Whether the sandbox itself keeps connections waiting is measured by a new one every half second. Only a message that
  was handed out before the fence, and taken while a knock from before waited as long, is excused by it.
- What a frozen process held is read from Redis right after SIGSTOP: messages that were handed out to it. Only those
  count as frozen, not what it took before or after.
- `lost` also counts a message that still waits when all is calm, and one that failed without being a dead letter.

```sh
make chaos                              # this page, about ten minutes on two cores
make chaos ARGS="--quick"               # a minute, writes nothing
make chaos ARGS="--seed 7 --keep /tmp/chaos"
make chaos ARGS="--store cluster"       # or sentinel: two minutes, with failovers; a page of its own
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
    name = _name(proof.store)
    (folder / f"{name}.md").write_text(page(proof) + "\n", encoding="utf-8")
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(proof)) + b"\n")
