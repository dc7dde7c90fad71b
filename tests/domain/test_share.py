from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import share
from bot.domain.bill import BillKind, BillMode
from bot.domain.message import Lane
from bot.errors import Problem, Refused
from bot.settings import Settings
from channels.base import ChannelName

SETTINGS = Settings()
FULL: dict[str, Any] = {
    "id": "inv-2026-00017",
    "bill": {
        "number": "55042914871931",
        "kind": "order",
        "term": "1",
        "amount": "45000",
        "currency": "TZS",
        "description": "Term 2 fees",
        "due_at": "2026-12-01T09:00:00+03:00",
        "mode": "exact",
    },
    "customer": {
        "name": "Asha Juma",
        "phone": "0754 123 456",
        "email": "asha@example.com",
        "telegram": None,
        "locale": "sw",
    },
    "route": {"mode": "first", "channels": ["whatsapp", "sms", "email"], "confirm_within": "PT10M"},
    "reminders": {"before_due": ["P3D", "P1D"], "after_due": ["P1D", "P3D", "P7D"], "max": 5},
    "additional_contact": False,
    "send_at": None,
    "lane": "urgent",
    "template": "default",
    "callback_url": None,
    "data": {"student": "Juma A."},
}
SMALL: dict[str, Any] = {
    "id": "s1",
    "bill": {"number": "1", "amount": 500},
    "customer": {"phone": "0754123456"},
}

NAMED = {**SMALL, "customer": {"name": "Asha", "phone": "0754123456"}}


def decode(job: Any, *, one: bool = True) -> share.ShareJob:
    return share.decode(json.dumps(job), settings=SETTINGS, one=one)


def changed(path: str, value: object, job: dict[str, Any] = FULL) -> dict[str, Any]:
    """The job with the field at `path` set."""
    job = copy.deepcopy(job)
    *sections, leaf = path.split(".")
    target = job
    for section in sections:
        target = target.setdefault(section, {})
    target[leaf] = value
    return job


def without(path: str, job: dict[str, Any] = FULL) -> dict[str, Any]:
    """The job without the field at `path`."""
    job = copy.deepcopy(job)
    *sections, leaf = path.split(".")
    target = job
    for section in sections:
        target = target[section]
    del target[leaf]
    return job


def problems(job: Any) -> dict[str, Problem]:
    """What is wrong with `job`, by field; each field once."""
    with pytest.raises(Refused) as refused:
        decode(job)
    found = {problem.field: problem for problem in refused.value.problems}
    assert len(found) == len(refused.value.problems)
    return found


def test_a_full_job_is_read_as_written() -> None:
    job = decode(FULL)
    assert job.bill.amount == Decimal(45000)
    assert (job.bill.kind, job.bill.mode) == (BillKind.ORDER, BillMode.EXACT)
    assert job.bill.due_at == datetime(2026, 12, 1, 6, tzinfo=UTC)
    assert job.customer.phone == "+255754123456"
    assert job.route.channels == (ChannelName.WHATSAPP, ChannelName.SMS, ChannelName.EMAIL)
    assert job.reminders.after_due == (timedelta(days=1), timedelta(days=3), timedelta(days=7))
    assert job.data == {"student": "Juma A."}


def test_a_small_job_gets_the_defaults() -> None:
    job = decode(SMALL)
    assert job.bill == share.Bill(
        number="1",
        create=None,
        kind=BillKind.ORDER,
        term="1",
        amount=Decimal(500),
        currency="TZS",
        description=None,
        due_at=None,
        mode=BillMode.PARTIAL,
    )
    assert job.route == share.Route(
        mode="first",
        channels=(ChannelName.WHATSAPP, ChannelName.SMS),
        confirm_within=timedelta(minutes=10),
    )
    assert job.reminders == share.Reminders(before_due=(), after_due=(), max=5)
    assert (job.lane, job.template, job.customer.locale) == (Lane.URGENT, "default", "sw")


def test_one_is_urgent_and_many_are_bulk_unless_they_say_otherwise() -> None:
    assert decode(SMALL, one=False).lane is Lane.BULK
    assert decode({**SMALL, "lane": "urgent"}, one=False).lane is Lane.URGENT


def test_a_due_time_brings_the_usual_reminders() -> None:
    job = decode(changed("bill.due_at", "2026-12-01T09:00:00Z", SMALL))
    assert job.reminders.before_due == (timedelta(days=3), timedelta(days=1))
    assert job.reminders.after_due == (timedelta(days=1), timedelta(days=3), timedelta(days=7))


def test_who_writes_one_list_of_reminders_gets_none_for_the_other() -> None:
    job = decode(changed("reminders", {"after_due": ["PT3S"]}))
    assert job.reminders == share.Reminders(before_due=(), after_due=(timedelta(seconds=3),), max=5)


def test_every_channel_with_an_address_is_used_when_none_is_named() -> None:
    customer = {"phone": "0754123456", "email": "a@example.com", "telegram": 123456789}
    job = decode({**SMALL, "customer": customer})
    assert job.route.channels == ("whatsapp", "sms", "email", "telegram")
    assert job.customer.telegram == "123456789"


@pytest.mark.parametrize(("given_", "locale"), [("en", "en"), ("en-GB", "en"), ("SW_tz", "sw"), ("fr", "sw")])
def test_a_language_that_is_not_spoken_falls_back(given_: str, locale: str) -> None:
    assert decode(changed("customer.locale", given_)).customer.locale == locale


def test_a_bill_may_be_created_instead_of_named() -> None:
    job = decode(changed("bill", {"create": "customer", "amount": "60000"}, NAMED))
    assert (job.bill.number, job.bill.create, job.bill.kind) == (None, BillKind.CUSTOMER, BillKind.CUSTOMER)


def test_a_job_survives_being_stored() -> None:
    job = decode(FULL)
    assert msgspec.json.decode(msgspec.json.encode(job), type=share.ShareJob) == job


def test_the_same_content_has_the_same_digest_however_it_is_written() -> None:
    other = changed("customer.phone", "+255-754-123456")
    other = changed("bill.amount", 45000, other)
    other = changed("bill.due_at", "2026-12-01T06:00:00.000Z", other)
    other = changed("reminders.before_due", ["PT72H", "P1D"], without("lane", other))
    other = dict(reversed(other.items()))
    assert decode(other, one=False).digest == decode(FULL).digest
    assert decode(changed("bill.amount", "45000.00")).digest == decode(FULL).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "inv-2"),
        ("bill.amount", "45000.01"),
        ("bill.term", "2"),
        ("customer.phone", "0754123457"),
        ("route.channels", ["sms", "whatsapp", "email"]),
        ("data", {"student": "Juma B."}),
        ("send_at", "2026-11-30T09:00:00Z"),
    ],
)
def test_other_content_has_another_digest(path: str, value: object) -> None:
    assert decode(changed(path, value)).digest != decode(FULL).digest


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("id", "", "not a usable id"),
        ("id", "a b", "not a usable id"),
        ("id", "a\u0000b", "not a usable id"),
        ("id", "x" * 129, "not a usable id"),
        ("id", "5.5E+13", "mangled by a spreadsheet"),
        ("id", 17, "must not be a whole number"),
        ("bill.number", "", "not a control number"),
        ("bill.number", "5504 2914", "not a control number"),
        ("bill.number", "1" * 21, "not a control number"),
        ("bill.number", "１２３", "not a control number"),
        ("bill.number", "5.5E+13", "mangled by a spreadsheet"),
        ("bill.number", "5504291487193.0", "mangled by a spreadsheet"),
        ("bill.number", 55042914871931, "must not be a whole number"),
        ("bill.kind", "invoice", "not a word"),
        ("bill.term", "", "is empty"),
        ("bill.amount", 45000.0, "must not be a number with decimals"),
        ("bill.amount", True, "must not be true or false"),
        ("bill.amount", "45,000", "thousands separators"),
        ("bill.amount", "4.5E+4", "mangled by a spreadsheet"),
        ("bill.amount", "0", "more than 0"),
        ("bill.amount", "1.234", "more decimals than TZS"),
        ("bill.currency", "SHILLING", "not a currency"),
        ("bill.description", "x" * 501, "has 501 characters"),
        ("bill.description", "one\ntwo", "line breaks"),
        ("bill.due_at", "2026-12-01", "is not a time"),
        ("bill.due_at", "2026-12-01T09:00:00", "no offset"),
        ("bill.due_at", "2026-02-30T09:00:00Z", "not a time that exists"),
        ("bill.due_at", "0001-01-01T00:00:00+14:00", "not a time that exists"),
        ("bill.due_at", "1999-01-01T00:00:00Z", "not in this age"),
        ("bill.mode", "full", "not a word"),
        ("customer.name", "Asha\r\nBcc: x@example.com", "line breaks"),
        ("customer.name", "Asha \u202egnp.exe", "invisible control characters"),
        ("customer.name", "x" * 121, "has 121 characters"),
        ("customer.phone", "0222123456", "not a mobile number"),
        ("customer.phone", "2.55754E+11", "mangled by a spreadsheet"),
        ("customer.email", "asha", "not valid"),
        ("customer.telegram", "@asha", "not the id of a private chat"),
        ("customer.locale", "??", "not a language"),
        ("route.mode", "both", "not a word"),
        ("route.channels", [], "is empty"),
        ("route.channels", "sms", "must not be text"),
        ("route.confirm_within", "PT0S", "out of range"),
        ("route.confirm_within", "P8D", "out of range"),
        ("route.confirm_within", "10 minutes", "not a duration"),
        ("reminders.before_due", ["P367D"], "further than a year"),
        ("reminders.after_due", ["P1D"] * 21, "has 21 entries"),
        ("reminders.max", 21, "out of range"),
        ("reminders.max", -1, "out of range"),
        ("reminders.max", "5", "must not be text"),
        ("additional_contact", "yes", "must not be text"),
        ("send_at", "tomorrow", "is not a time"),
        ("lane", "fast", "not a word"),
        ("template", "../../etc/passwd", "not the name of a template set"),
        ("callback_url", "ftp://example.com/", "not an http or https address"),
        ("callback_url", "https:///hook", "not an http or https address"),
        ("callback_url", "https://user:secret@example.com/", "user name or password"),
        ("callback_url", "https://example.com:99999/", "not a URL"),
        ("callback_url", "http://169.254.169.254/", "a private network"),
        ("callback_url", "http://[::1]/", "a private network"),
        ("callback_url", "http://[fe80::1%25eth0]:8080/x", "a private network"),
        ("callback_url", "http://2130706433/", "a private network"),
        ("callback_url", "https://127.1/hook", "a private network"),
        ("callback_url", "http://localhost.:8000/", "a private network"),
        ("callback_url", "https://example.com/a b", "not a URL"),
        ("data", {str(n): n for n in range(51)}, "has 51 fields"),
        ("data", {"a.b": 1}, "unusable name"),
        ("data", {"": 1}, "unusable name"),
        ("data", [], "must not be a list"),
    ],
)
def test_each_problem_is_named_with_its_path(path: str, value: object, message: str) -> None:
    (problem,) = problems(changed(path, value)).values()
    assert problem.field == path
    assert message in problem.message


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("route.channels", ["sms", "fax"], "route.channels[1]"),
        ("route.channels", ["sms", "sms"], "route.channels[1]"),
        ("reminders.before_due", ["P3D", "P1M"], "reminders.before_due[1]"),
        ("reminders.after_due", [3], "reminders.after_due[0]"),
        ("data", {"a": {"b": 1}}, "data.a"),
        ("data", {"a": "x" * 2001}, "data.a"),
        ("data", {"a": "\x1b[31m"}, "data.a"),
    ],
)
def test_a_problem_inside_a_list_or_data_is_named_where_it_is(path: str, value: object, where: str) -> None:
    assert list(problems(changed(path, value))) == [where]


@pytest.mark.parametrize("path", ["id", "bill", "customer", "bill.number", "bill.amount"])
def test_what_is_required_and_missing_is_named(path: str) -> None:
    found = problems(without(path, SMALL))
    assert found[path].message == "is missing"


def test_all_problems_are_told_at_once() -> None:
    job = changed("bill.amount", 4.5)
    for path, value in {"id": "a b", "customer.phone": "07", "x": 1, "reminders.max": 99}.items():
        job = changed(path, value, job)
    assert set(problems(job)) == {"id", "bill.amount", "customer.phone", "reminders.max", "x"}


def test_an_unknown_field_is_an_error_that_names_the_nearest_known_one() -> None:
    assert problems(changed("customer.fone", "0754123456"))["customer.fone"].expected == "phone"
    assert "callback_url" in str(problems(changed("zzz", 1))["zzz"].expected)


def test_a_contact_needs_an_address() -> None:
    assert problems(changed("customer", {"name": "Asha"}))["customer"].message == "has no address"


def test_a_wrong_address_is_one_problem_and_not_two() -> None:
    assert list(problems(changed("customer", {"phone": "07"}, SMALL))) == ["customer.phone"]
    assert list(problems(changed("customer", {"phone": 7}, SMALL))) == ["customer.phone"]


def test_a_route_without_any_address_is_refused() -> None:
    assert (
        "no channel for which"
        in problems(changed("route", {"channels": ["email"]}, SMALL))["route.channels"].message
    )


def test_a_channel_without_address_beside_one_with_is_kept_for_the_engine_to_skip() -> None:
    job = decode(changed("route", {"channels": ["email", "telegram", "sms"]}, SMALL))
    assert job.route.channels == ("email", "telegram", "sms")


def test_reminders_need_a_due_time() -> None:
    assert list(problems(changed("reminders", {"before_due": ["P1D"]}, SMALL))) == ["bill.due_at"]


def test_number_and_create_exclude_each_other() -> None:
    assert list(problems(changed("bill.create", "order"))) == ["bill.create"]


def test_kind_may_not_contradict_create() -> None:
    bill = {"create": "order", "kind": "customer", "amount": 1}
    assert list(problems(changed("bill", bill, NAMED))) == ["bill.kind"]


def test_a_customer_number_is_created_only_for_a_name_with_an_address() -> None:
    job = {"id": "1", "bill": {"create": "customer", "amount": 1}, "customer": {"telegram": 123456}}
    assert set(problems(job)) == {"customer.name", "customer"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("\ud800", "not UTF-8"),
        ('{"id": NaN}', "is not JSON"),
        ("[]", "is a list"),
        ('"text"', "is not an object"),
        ("null", "is not an object"),
        (b" " * 70_000, "is too large"),
        ("[" * 60_000, "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_one_problem(raw: bytes | str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        share.decode(raw, settings=SETTINGS)
    (problem,) = refused.value.problems
    assert (problem.field, message in problem.message) == ("$", True)


def test_problems_never_show_a_whole_address_or_name() -> None:
    job = changed(
        "customer",
        {"name": "Asha\nJuma", "phone": "075412345678", "email": "asha.juma@", "telegram": "12345678x"},
    )
    with pytest.raises(Refused) as refused:
        decode(changed("callback_url", "ftp://secret.example", job))
    for private in ("Asha", "Juma", "075412345678", "asha.juma", "12345678x", "secret"):
        assert private not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [f"{section}.{leaf}" for section, part in FULL.items() if isinstance(part, dict) for leaf in part]
    + list(FULL)
)


def outcome(read: Any, job: Any) -> list[str]:
    """The fields that `read` finds wrong, or the digest alone."""
    try:
        return [read(job, settings=SETTINGS).digest]
    except Refused as refused:
        return sorted(problem.field for problem in refused.problems)


@given(PATHS, JSON)
def test_any_value_anywhere_is_taken_or_refused_with_a_path(path: str, value: object) -> None:
    job = changed(path, value)
    for found in outcome(share.from_fields, job):
        assert found


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_any_bytes_are_taken_or_refused(raw: bytes | str) -> None:
    with pytest.raises(Refused):
        share.decode(raw, settings=SETTINGS)


@given(PATHS, JSON)
def test_the_decoder_and_the_reading_of_objects_agree(path: str, value: object) -> None:
    job = json.loads(json.dumps(changed(path, value)))
    assert outcome(share.decode, json.dumps(job)) == outcome(share.from_fields, job)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("P1W", 604_800), ("P1DT2H", 93_600), ("PT1.5S", 1.5), ("PT10M", 600), ("PT0S", 0), ("P3D", 259_200)],
)
def test_iso_durations_are_read(text: str, seconds: float) -> None:
    job = decode(changed("reminders.before_due", [text]))
    assert job.reminders.before_due == (timedelta(seconds=seconds),)


@pytest.mark.parametrize("text", ["P1M", "P1Y", "-P1D", "P", "PT", "P1DT", "1D", "p1d", "P1.5D", "PT1S "])
def test_other_durations_are_refused(text: str) -> None:
    assert list(problems(changed("reminders.before_due", [text]))) == ["reminders.before_due[0]"]


def test_the_schema_is_complete_in_itself_and_says_what_is_required() -> None:
    schema = share.schema()
    assert "$ref" not in json.dumps(schema)
    assert schema["required"] == ["id", "bill", "customer"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["bill"]["anyOf"] == [{"required": ["number"]}, {"required": ["create"]}]
    assert set(schema["properties"]) == set(FULL)


def test_a_channel_that_is_none_is_one_problem() -> None:
    with pytest.raises(Refused) as refused:
        share.from_fields(changed("route", {"channels": ["pigeon"]}), settings=SETTINGS)
    assert [problem.field for problem in refused.value.problems] == ["route.channels[0]"]


def test_a_point_before_three_zeros_is_no_decimal_point() -> None:
    with pytest.raises(Refused, match=r"more decimals than TZS has \(2\); the point looks like a thousands"):
        share.from_fields(changed("bill.amount", "45.000"), settings=SETTINGS)


def test_a_private_callback_is_taken_where_the_merchant_allows_it() -> None:
    raw = json.dumps(changed("callback_url", "http://10.0.0.7/hook"))
    allowed = share.decode(raw, settings=Settings(callback_private=True))
    assert allowed.callback_url == "http://10.0.0.7/hook"
    for url in ("https://8.8.8.8/hook", "https://[2606:4700::1111]/hook", "https://shop.example/hook"):
        assert decode(changed("callback_url", url)).callback_url == url


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (
            '{"id": "1", "id": "2", "bill": {"number": "1", "amount": "5"}, "customer": {"phone": "0754123456"}}',
            "id",
        ),
        ('{"id": "1", "bill": {"amount": "5", "number": "1", "amount": "50"}, "customer": {}}', "amount"),
        ('{"id": "1", "data": {"a": 1, "\\u0061": 2}}', "a"),
    ],
)
def test_a_name_that_stands_twice_is_refused_and_not_guessed(job: str, field: str) -> None:
    for raw in (job, job.encode()):
        with pytest.raises(Refused) as refused:
            share.decode(raw, settings=SETTINGS)
        [problem] = refused.value.problems
        assert (problem.field, problem.message) == (field, "stands twice in one object")
