"""Faults and the verdict on "once" as JSON values, for the page and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.sandbox.fault_kinds import KINDS
from bot.sandbox.judge import Taken, Verdict
from bot.sandbox.profiles import profiles

if TYPE_CHECKING:
    from bot.sandbox.city import Sandbox

Json = dict[str, Any]


def faults_view(city: Sandbox) -> Json:
    """Which faults there are, which are asked for, and how many requests met each."""
    faults = city.faults
    return {
        "seed": faults.seed,
        "profile": faults.profile,
        "profiles": [{"name": each.name, "about": each.about} for each in profiles().values()],
        "modes": faults.modes(),
        "kinds": {
            provider: [
                {"name": each.name, "point": each.point, "words": each.words} for each in kinds.values()
            ]
            for provider, kinds in KINDS.items()
        },
        "plans": faults.plans(),
        "met": faults.counts(),
    }


def verdict_view(verdict: Verdict, *, every: bool = False) -> Json:
    """The verdict; `every`: with each message, not only those taken more than once.

    `twice` is certain, `alike` is only equal text to one person, where the channel carries no reference.
    """
    body: Json = {
        "accepted": verdict.accepted,
        "messages": len(verdict.taken),
        "twice": [_taken(each) for each in verdict.twice],
        "alike": [_taken(each) for each in verdict.alike],
    }
    return body | ({"every": [_taken(each) for each in verdict.taken]} if every else {})


def _taken(taken: Taken) -> Json:
    return {
        "key": taken.key,
        "channel": taken.channel,
        "address": taken.address,
        "message": taken.message,
        "certain": taken.certain,
        "times": taken.times,
        "ids": taken.ids,
        "attempts": taken.attempts,
        "at": taken.at,
    }
