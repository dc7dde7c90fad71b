from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import contact

NATIONAL = st.from_regex(r"(6[0-35-9]|7[0-9])[0-9]{7}", fullmatch=True)
PREFIXES = st.sampled_from(["", "0", "255", "+255", "00255", "000255", "+2550", "+255 (0)"])
SEPARATORS = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011", " - "])


@given(NATIONAL, PREFIXES, SEPARATORS)
def test_every_way_of_writing_a_tanzanian_mobile_is_one_number(national: str, prefix: str, gap: str) -> None:
    written = prefix + gap + gap.join((national[:3], national[3:6], national[6:]))
    assert contact.phone(written) == f"+255{national}"


@given(st.text(alphabet="0123456789+- ()", max_size=16))
def test_a_number_that_is_accepted_is_a_valid_mobile_of_the_numbering_plan(text: str) -> None:
    try:
        found = contact.phone(text)
    except contact.BadPhone:
        return
    parsed = phonenumbers.parse(found)
    assert phonenumbers.is_valid_number(parsed)
    assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == found


@given(NATIONAL)
def test_a_normal_number_stays_as_it_is(national: str) -> None:
    assert contact.phone(contact.phone(national)) == f"+255{national}"


@given(st.from_regex(r"[67][0-9]{8}", fullmatch=True))
def test_the_short_cut_agrees_with_the_numbering_plan(national: str) -> None:
    try:
        assert contact.phone(national) == f"+255{national}"
        accepted = True
    except contact.BadPhone:
        accepted = False
    assert accepted is phonenumbers.is_valid_number(phonenumbers.parse(national, "TZ"))


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("0712 345 678", "KE", "+254712345678"),
        ("+254 712 345678", "TZ", "+254712345678"),
        ("00254712345678", "TZ", "+254712345678"),
        ("(201) 555-0123", "US", "+12015550123"),
        ("٠٧٥٤١٢٣٤٥٦", "TZ", "+255754123456"),
        ("＋255754123456", "TZ", "+255754123456"),
        ("\u202a+255 754 123 456\u202c", "TZ", "+255754123456"),
    ],
)
def test_other_countries_and_other_digits_are_read(written: str, region: str, number: str) -> None:
    assert contact.phone(written, region) == number


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("0754123456 ext 5", "extension"),
        ("0754123456x5", "extension"),
        ("0754123456;ext=5", "extension"),
        ("0754123456 / 0755123456", "characters"),
        ("0754-ABCDEF", "characters"),
        ("asha", "characters"),
        ("0754", "short"),
        ("+12", "short"),
        ("07541234567", "invalid"),
        ("0640123456", "invalid"),
        ("+000000000000", "invalid"),
        ("0222123456", "landline"),
        ("0800110011", "landline"),
        ("2.55754E+11", "spreadsheet"),
        ("2,55754E+11", "spreadsheet"),
        ("754123456.0", "spreadsheet"),
        ("75412345.0", "spreadsheet"),
    ],
)
def test_a_doubtful_phone_is_refused_with_its_reason(written: str, reason: str) -> None:
    with pytest.raises(contact.BadPhone) as refused:
        contact.phone(written)
    assert refused.value.reason == reason
    assert str(refused.value) == contact.BadPhone.REASONS[reason]


@pytest.mark.parametrize("given_", ["0754123456 ext 5", "754123456.0", "2.55754123456E+11", "07541234567"])
def test_the_problem_of_a_phone_does_not_show_the_phone(given_: str) -> None:
    with pytest.raises(contact.BadPhone) as refused:
        contact.phone(given_)
    problem = refused.value.problem("customer.phone", given_)
    assert "0754 123 456" in str(problem.expected)
    assert contact.MASK in str(problem.given)
    assert "4123" not in str(problem.given)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        (" Asha.Juma@Example.COM ", "Asha.Juma@example.com"),
        ("a+b_c-d@mail.example.co.tz", "a+b_c-d@mail.example.co.tz"),
        ("zuhura@example.test", "zuhura@example.test"),
        ("o'neil@example.com", "o'neil@example.com"),
        ("asha@bücher.example", "asha@xn--bcher-kva.example"),
    ],
)
def test_a_mail_address_gets_a_plain_lower_case_domain(written: str, address: str) -> None:
    assert contact.email(written) == address


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("asha", "invalid"),
        ("asha@", "invalid"),
        ("asha@example", "invalid"),
        ("asha..juma@example.com", "invalid"),
        ("asha@example.com, juma@example.com", "invalid"),
        ("Asha <asha@example.com>", "invalid"),
        ("asha@example.com\nBcc: all@example.com", "invalid"),
        ("ásha@example.com", "invalid"),
        (f"{'a' * 65}@example.com", "invalid"),
        (f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 20}.com", "long"),
    ],
)
def test_what_is_not_one_mail_address_is_refused(written: str, reason: str) -> None:
    with pytest.raises(contact.BadEmail) as refused:
        contact.email(written)
    assert refused.value.reason == reason


@pytest.mark.parametrize("value", [123456789, "123456789", " 0123456789 "])
def test_a_chat_id_is_kept_in_digits(value: str | int) -> None:
    assert contact.telegram(value) == "123456789"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("@asha", "invalid"),
        (-100123, "invalid"),
        (0, "invalid"),
        (2**52, "invalid"),
        ("1.23457E+8", "spreadsheet"),
    ],
)
def test_what_is_no_private_chat_is_refused(value: str | int, reason: str) -> None:
    with pytest.raises(contact.BadChat) as refused:
        contact.telegram(value)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("+255754123456", "+255•••3456"),
        ("asha@example.com", "a•••@example.com"),
        ("123456789", "•••789"),
        ("12345", "•••"),
        ("", "•••"),
    ],
)
def test_a_masked_address_is_recognised_by_its_owner_only(address: str, masked: str) -> None:
    assert contact.mask(address) == masked


@given(NATIONAL, PREFIXES)
def test_no_phone_survives_in_masked_text(national: str, prefix: str) -> None:
    masked = contact.mask_text(f"to {prefix}{national}: not reachable, asha@example.com neither")
    assert national not in masked
    assert "asha" not in masked


@pytest.mark.parametrize(
    "text",
    [
        "bill 55042914871931 of TZS 45,000.00 due 2026-12-01T09:00:00+03:00",
        "message 3-Zk9_abc.2 sent at 1796108400123",
        "SOMA0001LCPA1B2C3",
    ],
)
def test_numbers_that_are_no_phones_stay_legible(text: str) -> None:
    assert contact.mask_text(text) == text


def test_phones_in_web_addresses_are_masked() -> None:
    assert contact.mask_text("To=whatsapp%3A%2B255754123456&x=1") == "To=whatsapp%3A+255•••3456&x=1"


def test_what_is_too_short_to_be_a_phone_is_shown_by_its_end() -> None:
    assert contact.BadPhone("short").problem("phone", "12345").given == "2345"
