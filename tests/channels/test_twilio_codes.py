"""The whole of Twilio's error table, walked row by row, and what happens beside it."""

from __future__ import annotations

import pytest

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
from channels.twilio_codes import CODES, classify

# Written out a second time on purpose: a row that changes its decision has to be changed here too.
EXPECTED: dict[type[ChannelError], set[int]] = {
    RecipientInvalid: {21211, 21614, 21217, 30005, 30006, 30011, 63003, 63024},
    RecipientOptedOut: {21610, 63033, 63014},
    Misconfigured: {
        *(20003, 20005, 20006, 20008, 20010, 10001, 30002, 21408, 21212, 21606, 21657, 21709, 30042, 21612),
        *(21608, 21603, 21609, 21654, 21655, 21701, 21703, 21704, 21705, 30007, 30018, 30024, 30034, 30032),
        *(30035, 30022, 30023, 30027, 63001, 63002, 63007, 63008, 63020, 63051, 63062, 63101, 63027, 63028),
        *(63030, 63040, 63041, 63042),
    },
    ContentRejected: {
        *(21602, 21604, 21617, 21619, 21624, 21656, 21658, 63005, 63006, 63013, 63021, 63015, 63016, 63032),
        *(63036, 63049),
    },
    Throttled: {20429, 21611, 30001, 63017, 63018, 63038},
    Unavailable: {
        *(30003, 30004, 30008, 30017, 30410, 30021, 30500, 30036, 30450, 63009, 63010, 63012, 63023),
    },
    Uncertain: {20500, 20503},
}
ROWS = [(code, error) for error, codes in EXPECTED.items() for code in sorted(codes)]


def test_the_table_holds_every_code_and_no_other() -> None:
    assert set(CODES) == set().union(*EXPECTED.values())


@pytest.mark.parametrize(("code", "error"), [row for row in ROWS if row[1] is not Uncertain])
def test_a_code_means_the_same_in_an_answer_and_in_a_callback(code: int, error: type[ChannelError]) -> None:
    for found in (classify(code, 400, sync=True), classify(code, 0, sync=False)):
        assert type(found) is error
        assert found.code == str(code)
        assert found.detail


@pytest.mark.parametrize("code", sorted(EXPECTED[Uncertain]))
def test_an_internal_error_is_in_doubt_only_while_nobody_knows(code: int) -> None:
    assert type(classify(code, 500, sync=True)) is Uncertain
    assert type(classify(code, 0, sync=False)) is Unavailable


@pytest.mark.parametrize("code", [None, 20003, 21211, 20429, 99999])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_in_doubt_whatever_its_body_says(status: int, code: int | None) -> None:
    assert type(classify(code, status, sync=True)) is Uncertain


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ContentRejected),
        (422, ContentRejected),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (307, Misconfigured),
        (429, Throttled),
    ],
)
def test_an_unknown_code_in_an_answer_goes_by_its_status(status: int, error: type[ChannelError]) -> None:
    assert type(classify(99999, status, sync=True)) is error
    assert type(classify(None, status, sync=True)) is error


@pytest.mark.parametrize("code", [None, 30999, 63999])
def test_an_unknown_code_in_a_callback_is_worth_one_retry(code: int | None) -> None:
    error = classify(code, 0, sync=False)
    assert type(error) is Unavailable
    assert error.most_retries == 1


def test_retries_are_bounded_where_a_carrier_gives_no_reason() -> None:
    found = [classify(code, 0, sync=False) for code in (30008, 30004, 30003)]
    assert [getattr(error, "most_retries", None) for error in found] == [1, 1, None]


def test_the_wait_that_twilio_asks_for_beats_the_table() -> None:
    asked, ours = classify(30450, 400, sync=True, retry_after_s=5), classify(30450, 400, sync=True)
    assert isinstance(asked, Unavailable)
    assert isinstance(ours, Unavailable)
    assert (asked.retry_after_s, ours.retry_after_s) == (5, 1800)
