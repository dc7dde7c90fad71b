"""The segment counter, beside an independent one and the figures of the standard."""

from __future__ import annotations

import unicodedata

import pytest
import smsutil
from hypothesis import example, given
from hypothesis import strategies as st

from bot.render.segments import BASIC, EXTENSION, Count, count, cut, is_gsm, split, to_gsm, units

# The oracle takes a bare escape for a character of the alphabet, and cannot encode half a surrogate pair.
ANY_TEXT = st.text(st.characters(exclude_characters="\x1b", codec="utf-8"), max_size=400)
GSM_TEXT = st.text(st.sampled_from(sorted(BASIC | EXTENSION)), max_size=500)


@given(st.one_of(ANY_TEXT, GSM_TEXT))
@example("a" * 152 + "€" + "b" * 20)
@example("😀" * 36)
def test_segments_and_encoding_agree_with_an_independent_counter(text: str) -> None:
    oracle = smsutil.split(text)
    found = count(text)
    assert found.segments == len(oracle.parts)
    assert (found.encoding == "gsm-7") == (oracle.encoding == "gsm0338" or text == "")


@given(st.one_of(ANY_TEXT, GSM_TEXT))
def test_the_parts_are_the_text_and_each_fits(text: str) -> None:
    parts = split(text)
    assert "".join(parts) == text
    encoding = count(text).encoding
    room = (160 if encoding == "gsm-7" else 70) if len(parts) == 1 else (153 if encoding == "gsm-7" else 67)
    cost = units if encoding == "gsm-7" else lambda part: len(part.encode("utf-16-be")) // 2
    assert all(cost(part) <= room for part in parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Count("gsm-7", 0, 1)),
        ("a" * 160, Count("gsm-7", 160, 1)),
        ("a" * 161, Count("gsm-7", 161, 2)),
        ("a" * 306, Count("gsm-7", 306, 2)),
        ("a" * 307, Count("gsm-7", 307, 3)),
        ("€" * 80, Count("gsm-7", 160, 1)),
        ("€" * 81, Count("gsm-7", 162, 2)),
        ("á" * 70, Count("ucs-2", 70, 1)),
        ("á" * 71, Count("ucs-2", 71, 2)),
        ("á" * 135, Count("ucs-2", 135, 3)),
        ("😀" * 35, Count("ucs-2", 70, 1)),
        ("😀" * 36, Count("ucs-2", 72, 2)),
        ("a\x1b", Count("ucs-2", 2, 1)),
    ],
)
def test_counts_at_the_edges_of_the_standard(text: str, expected: Count) -> None:
    assert count(text) == expected


def test_an_escape_pair_is_never_split_between_parts() -> None:
    assert [units(part) for part in split("a" * 152 + "€" + "b" * 20)] == [152, 22]


def test_a_surrogate_pair_is_never_split_between_parts() -> None:
    assert [len(part) for part in split("😀" * 36)] == [33, 3]


@given(ANY_TEXT)
def test_to_gsm_always_leaves_only_the_alphabet(text: str) -> None:
    assert is_gsm(to_gsm(text))


@given(GSM_TEXT)
def test_to_gsm_changes_nothing_that_is_in_the_alphabet(text: str) -> None:
    assert to_gsm(text) == text


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("Ng’ombe – “bei” … poa", 'Ng\'ombe - "bei" ... poa'),
        ("François Muñoz São", "Francois Muñoz Sao"),
        (unicodedata.normalize("NFD", "é Å ñ"), "é Å ñ"),
        ("TZS\u00a045,000\u202f=\t1", "TZS 45,000 = 1"),
        ("٠٧٥٤ №½", "0754 No1/2"),
        ("+255•••3456", "+255***3456"),
        ("Asha 😀 محمد", "Asha  "),
        ("a\x1b\x00\u200bb", "ab"),
    ],
)
def test_look_alikes_are_replaced_and_the_rest_is_dropped(written: str, sent: str) -> None:
    assert to_gsm(written) == sent


@given(ANY_TEXT, st.integers(0, 60))
@example("0{00\x0b", 4)
def test_a_cut_text_fits(text: str, room: int) -> None:
    assert units(cut(text, room)) <= max(room, 0)


def test_a_text_is_cut_at_the_end_of_a_word() -> None:
    assert cut("Shule ya Sekondari ya Wasichana", 24) == "Shule ya Sekondari ya.."


def test_a_text_that_fits_is_not_cut() -> None:
    assert cut("Shule", 5) == "Shule"
