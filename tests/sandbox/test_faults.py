"""What goes wrong when: modes, rates, faults on demand, contacts, seeds and profiles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bot.sandbox.fault_kinds import KINDS, PROVIDERS, Point
from bot.sandbox.faults import Faults
from bot.sandbox.profiles import find, profiles, read

ASHA, JUMA = "+255754000001", "+255754000002"


def drawn(faults: Faults, count: int, contact: str | None = ASHA, provider: str = "twilio") -> list[str]:
    """The names of the faults that the next requests meet, "" for none."""
    met = (faults.draw(provider, Point.SEND, contact) for _ in range(count))
    return [each.name if each else "" for each in met]


def test_without_a_wish_nothing_goes_wrong() -> None:
    faults = Faults()
    assert [faults.draw(provider, point, ASHA) for provider in PROVIDERS for point in Point] == [None] * 55
    assert faults.profile == "calm"


def test_on_demand_means_the_next_requests_and_no_more() -> None:
    faults = Faults()
    faults.next("twilio", "timeout-after", 2)
    assert drawn(faults, 3) == ["timeout-after", "timeout-after", ""]


def test_on_demand_for_one_contact_leaves_the_others_alone() -> None:
    faults = Faults()
    faults.next("twilio", "throttle", 1, ASHA)
    assert drawn(faults, 1, JUMA) == [""]
    assert drawn(faults, 2, ASHA) == ["throttle", ""]


def test_a_phone_means_sms_and_whatsapp_and_whatsapp_only_whatsapp() -> None:
    faults = Faults()
    faults.rate("twilio", "throttle", 1, ASHA)
    faults.rate("twilio", "error-before", 1, f"whatsapp:{JUMA}")
    assert drawn(faults, 1, ASHA) + drawn(faults, 1, f"whatsapp:{ASHA}") == ["throttle", "throttle"]
    assert drawn(faults, 1, JUMA) + drawn(faults, 1, f"whatsapp:{JUMA}") == ["", "error-before"]


def test_a_mail_address_is_one_in_any_case() -> None:
    faults = Faults()
    faults.next("smtp", "rcpt-5xx", 1, "Asha@Example.com")
    assert faults.draw("smtp", Point.RCPT, "asha@example.com") is KINDS["smtp"]["rcpt-5xx"]


def test_a_rate_is_kept_over_many_requests() -> None:
    faults = Faults(seed=7)
    faults.rate("twilio", "error-before", 0.2)
    faults.rate("twilio", "throttle", 0.1)
    met = Counter(name for number in range(4000) for name in drawn(faults, 1, f"+2557540{number:05}"))
    assert 0.17 < met["error-before"] / 4000 < 0.23
    assert 0.08 < met["throttle"] / 4000 < 0.12
    assert faults.counts()["twilio"] == {name: met[name] for name in ("error-before", "throttle")}


def test_a_contacts_own_rates_replace_everybodys() -> None:
    faults = Faults()
    faults.rate("twilio", "error-before", 1)
    faults.rate("twilio", "throttle", 1, ASHA)
    assert drawn(faults, 1, ASHA) + drawn(faults, 1, JUMA) == ["throttle", "error-before"]


def test_the_same_seed_brings_the_same_faults_whoever_comes_between() -> None:
    first, second = Faults(seed=42), Faults(seed=42)
    for faults in (first, second):
        faults.rate("twilio", "reset-after", 0.5)
    alone = drawn(first, 50)
    mixed = [name for _ in range(50) for name in (*drawn(second, 1, JUMA), *drawn(second, 1, ASHA))][1::2]
    assert alone == mixed
    assert 10 < sum(map(bool, alone)) < 40


def test_another_seed_brings_others_and_the_same_again_the_same() -> None:
    faults = Faults(seed=1)
    faults.rate("twilio", "reset-after", 0.5)
    first = drawn(faults, 40)
    faults.reseed(2)
    second = drawn(faults, 40)
    faults.reseed(1)
    assert drawn(faults, 40) == first != second


def test_a_seed_is_drawn_and_told_when_none_is_given() -> None:
    assert len({Faults().seed for _ in range(20)}) > 10


def test_points_do_not_mix() -> None:
    faults = Faults()
    faults.rate("twilio", "callback-lost", 1)
    assert drawn(faults, 1) == [""]
    lost = faults.draw("twilio", Point.CALLBACK, ASHA)
    assert lost is not None
    assert lost.name == "callback-lost"


def test_a_mode_rules_before_everything_else() -> None:
    faults = Faults()
    faults.rate("twilio", "throttle", 1)
    faults.set("twilio", "failing")
    assert drawn(faults, 1) == ["error-before"]
    faults.set("twilio", "ok")
    assert drawn(faults, 1) == ["throttle"]


def test_a_rate_of_0_takes_a_wish_back_and_clear_takes_all() -> None:
    faults = Faults()
    faults.rate("twilio", "throttle", 1)
    faults.rate("twilio", "throttle", 0)
    assert (drawn(faults, 1), faults.plans()) == ([""], [])
    faults.next("telegram", "forbidden", 3)
    faults.set("smtp", "slow")
    faults.clear()
    assert (faults.plans(), set(faults.modes().values())) == ([], {"ok"})


@pytest.mark.parametrize(
    ("provider", "kind", "rate", "word"),
    [
        ("pigeon", "throttle", 0.1, "unknown provider"),
        ("smtp", "forbidden", 0.1, "unknown fault"),
        ("smtp", "rcpt-4xx", 1.5, "from 0 to 1"),
        ("smtp", "rcpt-4xx", -0.1, "from 0 to 1"),
        ("smtp", "rcpt-5xx", 0.6, "add up to more than 1"),
    ],
)
def test_an_impossible_wish_says_why(provider: str, kind: str, rate: float, word: str) -> None:
    faults = Faults()
    faults.rate("smtp", "rcpt-4xx", 0.5)
    with pytest.raises(ValueError, match=word):
        faults.rate(provider, kind, rate)
    with pytest.raises(ValueError, match="whole number"):
        faults.next("smtp", "rcpt-4xx", -1)


def test_plans_tell_what_is_asked_for_and_what_was_met() -> None:
    faults = Faults()
    faults.rate("twilio", "throttle", 1)
    faults.next("twilio", "error-after", 2, ASHA)
    drawn(faults, 3, ASHA)
    found = [(plan.kind, plan.contact, plan.rate, plan.left, plan.met) for plan in faults.plans()]
    assert found == [("throttle", None, 1.0, 0, 1), ("error-after", ASHA, 0.0, 0, 2)]


# Profiles


@pytest.mark.parametrize(
    "name", ["calm", "bad-day", "storm", "rush-hour", "silence", "refusals", "closed-doors"]
)
def test_every_shipped_profile_can_be_used(name: str) -> None:
    faults = Faults()
    faults.use(profiles()[name])
    assert faults.profile == name
    assert profiles()[name].about.endswith(".")


def test_a_storm_hits_every_fifth_request_of_every_provider() -> None:
    faults = Faults(seed=3)
    faults.use(find("storm"))
    for provider in ("twilio", "telegram"):
        met = [name for number in range(3000) for name in drawn(faults, 1, str(number), provider)]
        assert 0.17 < sum(map(bool, met)) / 3000 < 0.24


def test_nothing_in_a_storm_is_for_good() -> None:
    kinds = {kind for rates in find("storm").rates.values() for kind in rates}
    assert not {"forbidden", "migrated", "undelivered"} & kinds
    assert not [kind for kind in kinds if kind.endswith("-5xx")]


def test_a_profile_replaces_what_was_and_its_times_end_with_it() -> None:
    faults = Faults(slow_s=9)
    faults.next("twilio", "throttle", 5)
    faults.use(find("bad-day"))
    assert (faults.slow_s, [plan for plan in faults.plans() if plan.left]) == (1.0, [])
    faults.use(find("calm"))
    assert (faults.slow_s, faults.rates()) == (9, {})


def test_rates_of_ones_own_are_no_profile() -> None:
    faults = Faults()
    faults.use(find("bad-day"))
    faults.rate("twilio", "slow", 0.5)
    assert faults.profile == "custom"


def test_a_profile_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[mine]\nabout = "Mine."\nslow_s = 0.5\n[mine.smtp]\ndrop-after = 0.5\n')
    mine = find(str(file))
    assert (mine.name, mine.rates, mine.times) == ("mine", {"smtp": {"drop-after": 0.5}}, {"slow_s": 0.5})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no profile"),
        ("mine = 1", "not a table"),
        ("[mine.pigeon]\nslow = 1", "unknown key 'pigeon'"),
        ("[mine.smtp]\nforbidden = 1", "unknown fault"),
        ("[mine.smtp]\nslow = -1", "not negative"),
        ("[mine.smtp]\nslow = true", "must be a number"),
        ("[mine.smtp]\nslow = 0.6\ndrop-after = 0.6", "more than 1"),
        ("[mine]\nsmtp = 3", "not a table of rates"),
        ("[mine", "Expected"),
    ],
)
def test_a_broken_profile_says_where(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=word):
        read(file)


@pytest.mark.parametrize("name", ["sunny", "nowhere.toml"])
def test_an_unknown_profile_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        find(name)


def test_the_page_on_the_sandbox_names_every_fault_and_profile() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    rows = [
        f"| `{each.name}` | {each.words} | {each.point} |"
        for kinds in KINDS.values()
        for each in kinds.values()
    ]
    rows += [f"| `{each.name}` | {each.about} |" for each in profiles().values()]
    assert [row for row in rows if row not in page] == []
