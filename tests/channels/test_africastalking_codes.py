"""The whole of Africa's Talking's codes, walked row by row, and what its notifications say."""

from __future__ import annotations

import pytest

from channels.africastalking_codes import (
    CODES,
    REASONS,
    REPORTED,
    of_http,
    of_recipient,
    of_report,
    of_request,
)
from channels.africastalking_status import admits, parse_opt_out, parse_report
from channels.base import Delivery
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)

# Written out a second time on purpose: a row that changes its decision has to be changed here too.
EXPECTED: dict[type[ChannelError], set[int]] = {
    RecipientInvalid: {403, 404},
    RecipientOptedOut: {406},
    Misconfigured: {401, 402, 405},
    Unavailable: {407, 409, 502},
    Uncertain: {500, 501},
}
ROWS = [(code, error) for error, codes in EXPECTED.items() for code in sorted(codes)]
EXPECTED_REASONS: dict[type[ChannelError], set[str]] = {
    RecipientInvalid: {"UserIsInactive", "UserDoesNotExist"},
    RecipientOptedOut: {"UserInBlackList"},
    Misconfigured: {"InsufficientCredit", "InvalidLinkId", "UserNotSubscribedToProduct"},
    ContentRejected: {"Expired"},
    Unavailable: {
        *("UserAccountSuspended", "NotNetworkSubscriber", "NotNetworkSubcriber", "DoNotDisturbRejection"),
        *("AbsentSubscriber", "DeliveryFailure"),
    },
}
TOKEN = "k" * 24


def test_the_table_holds_every_code_and_no_other() -> None:
    assert set(CODES) == set().union(*EXPECTED.values())
    assert set(REASONS) == {name.lower() for names in EXPECTED_REASONS.values() for name in names}


@pytest.mark.parametrize(("code", "error"), ROWS)
def test_a_code_means_the_same_by_number_and_by_name(code: int, error: type[ChannelError]) -> None:
    by_number, by_name = of_recipient(code), of_request(CODES[code].name)
    assert (type(by_number), type(by_name)) == (error, error)
    assert by_number.code == f"africastalking {code}"
    assert by_number.detail == by_name.detail


@pytest.mark.parametrize(
    ("code", "error"), [(499, ContentRejected), (503, Uncertain), (599, Uncertain), (0, Uncertain)]
)
def test_a_code_that_is_not_documented_is_refused_or_in_doubt(code: int, error: type[ChannelError]) -> None:
    assert type(of_recipient(code)) is error


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (201, Uncertain),
        (302, Misconfigured),
        (400, ContentRejected),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (429, Throttled),
        (500, Uncertain),
        (503, Uncertain),
    ],
)
def test_a_status_without_a_readable_body_has_its_decision(status: int, error: type[ChannelError]) -> None:
    assert type(of_http(status)) is error


@pytest.mark.parametrize(
    ("reason", "error"),
    [(name, error) for error, names in EXPECTED_REASONS.items() for name in sorted(names)],
)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
def test_a_reason_has_its_decision_in_any_spelling(
    reason: str, error: type[ChannelError], spelled: type[str]
) -> None:
    assert type(of_report("Failed", spelled(reason))) is error


def test_a_failure_without_a_reason_is_worth_one_more_try() -> None:
    for reason in ("", "SomethingNew"):
        error = of_report("Failed", reason)
        assert isinstance(error, Unavailable)
        assert (error.retry_after_s, error.most_retries) == (300, 1)


@pytest.mark.parametrize("status", ["AbsentSubscriber", "Expired"])
def test_some_states_are_a_reason_themselves(status: str) -> None:
    assert of_report(status, "").code == f"africastalking {status}"


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        ("Sent", Delivery.SENT),
        ("Submitted", Delivery.SENT),
        ("Buffered", Delivery.SENT),
        ("Success", Delivery.DELIVERED),
        ("Rejected", Delivery.UNDELIVERED),
        ("Failed", Delivery.UNDELIVERED),
        ("AbsentSubscriber", Delivery.UNDELIVERED),
        ("Expired", Delivery.UNDELIVERED),
    ],
)
def test_a_report_says_how_far_a_message_came(status: str, delivery: Delivery) -> None:
    form = {"id": "ATXid_1", "status": status, "phoneNumber": "+255754123456", "networkCode": "64004"}
    update = parse_report(form)
    assert (update.message_id, update.provider_id, update.delivery) == (None, "ATXid_1", delivery)
    assert (update.error is None) == (delivery is not Delivery.UNDELIVERED)


def test_every_state_is_tried_above() -> None:
    assert len(REPORTED) == 8


def test_a_report_gives_its_reason() -> None:
    update = parse_report({"id": "ATXid_1", "status": "Failed", "failureReason": "UserInBlackList"})
    assert isinstance(update.error, RecipientOptedOut)


@pytest.mark.parametrize(
    "form", [{}, {"id": "ATXid_1"}, {"status": "Success"}, {"id": "x", "status": "Eaten"}]
)
def test_what_is_no_report_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a delivery report"):
        parse_report(form)


@pytest.mark.parametrize("given", ["+255754123456", "255754123456", " +255754123456 "])
def test_an_opt_out_names_a_number(given: str) -> None:
    assert parse_opt_out({"senderId": "SHULE", "phoneNumber": given}) == "+255754123456"


@pytest.mark.parametrize("given", ["", "0754123456", "Asha", "+", "+2557541234567890"])
def test_an_opt_out_without_a_number_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="not an opt-out"):
        parse_opt_out({"phoneNumber": given})


@pytest.mark.parametrize(
    ("given", "token", "admitted"),
    [
        (TOKEN, TOKEN, True),
        (TOKEN + "k", TOKEN, False),
        ("", TOKEN, False),
        ("", "", False),
        ("", None, False),
        ("short", "short", False),
        ("\udcff", TOKEN, False),
    ],
)
def test_only_the_installations_token_is_admitted(given: str, token: str | None, admitted: bool) -> None:
    assert admits(given, token) is admitted
