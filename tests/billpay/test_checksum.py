from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.billpay.checksum import canonical, load, sign, verified, verify

KEY = "CHK-test-key-1"

# The vectors were computed with node's crypto module; where a second value stands, it is of the escaped form.
FLAT = '{"billReference":"SOMA0001","billAmount":12500,"billPaymentMode":"EXACT","billDescription":"Ada ya Januari"}'
WEBHOOK = (
    '{"event":"PAYMENT RECEIVED","data":{"status":"SUCCESS","orderReference":"SOMA0001","id":"SOMA0001LCPA1B2C3",'
    '"collectedAmount":"12500","collectedCurrency":"TZS","customer":{"customerPhoneNumber":"255712000001",'
    '"customerName":"Zuhura Émile Ng\'ombe"},"message":"Malipo yamepokelewa — asante","channel":"BILLPAY",'
    '"updatedAt":"2026-11-02T08:15:31.120Z","createdAt":"2026-11-02T08:15:30.004Z"},'
    '"checksum":"ignored","checksumMethod":"canonical"}'
)
NUMBERS = (
    '{"z":null,"a":100.0,"b":100.50,"c":1e21,"d":1e-7,"e":123456789012,"f":true,"g":-0.0,'
    '"list":[{"y":2,"x":1},[3,null,"é"],1.10]}'
)
BULK = (
    '{"controlNumbers":[{"customerPhone":"255713000002","customerName":"José Mwakyembe","billAmount":25000},'
    '{"customerName":"Asha <Ally> & Wana / 2","customerEmail":"asha@example.test","billReference":"SOMA0002"}]}'
)
WEBHOOK_SUM = "192af0099351b84e958e5c446a8b5035bab616884092f0630f9fea58e19f74d2"
WEBHOOK_ESCAPED = "a9c01a7652bfe12f83e4000c2ea19cec19d35b1dda9205da361a1fbd7326ba1e"
WEBHOOK_LEGACY = "871129d6cdd5b5bfa39560e0a625f516c51710691f1e076847dd5ae31dec89c0"
BULK_ESCAPED = "9600cf2e8f6c3339eba151df6e99bfe6bb01d25fe6e6e01c9704eb00e21ec008"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (FLAT, "37edc1539130795d4636005d05e4e0824f0dab8d8e27753e6c576cb6b6b091e4"),
        (WEBHOOK, WEBHOOK_SUM),
        (NUMBERS, "a02b53dc8c35cbf6e47aa26f395f6adfbf3667ff285c8ebb3eda783a6afd3ef1"),
        (BULK, "ba0e18ee13c7df82d63cf3967b5c3e01b687c67242f624882196c242f496ff4c"),
        ('{"billAmount":100}', "8f300e835dfc8a96c7696304e4fe7f7998c92df2060da481f29a301515d0b6fa"),
        ('{"billAmount":100.0}', "8f300e835dfc8a96c7696304e4fe7f7998c92df2060da481f29a301515d0b6fa"),
        ('{"billAmount":"100"}', "b4ff6844ea9c9793b2d7b2fc73cb3a42dd17a99b1ec4cdc727729bdbc49d9ac4"),
    ],
)
def test_the_known_payloads_have_their_known_checksums(payload: str, expected: str) -> None:
    assert sign(json.loads(payload), KEY) == expected


def test_a_name_outside_ascii_is_signed_raw() -> None:
    payload = {"customerName": "José", "customerPhone": "255713000002", "billAmount": 25000}
    assert sign(payload, KEY).startswith("97730e14")


def test_the_canonical_text_is_what_javascript_prints() -> None:
    assert canonical(json.loads(NUMBERS)).decode() == (
        '{"a":100,"b":100.5,"c":1e+21,"d":1e-7,"e":123456789012,"f":true,"g":0,'
        '"list":[{"x":1,"y":2},[3,null,"é"],1.1],"z":null}'
    )


@pytest.mark.parametrize(
    ("literal", "printed"),
    [
        ("0.000001", "0.000001"),
        ("1.5e-7", "1.5e-7"),
        ("123456789012345680000", "123456789012345680000"),
        ("1e300", "1e+300"),
        ("5e-324", "5e-324"),
        ("12345678901234567890", "12345678901234567000"),
        ("9007199254740993", "9007199254740992"),
        ("-0.1", "-0.1"),
        ("1e400", "null"),
        ("1" + "0" * 400, "null"),
    ],
)
def test_numbers_are_printed_as_javascript_prints_them(literal: str, printed: str) -> None:
    assert canonical(json.loads(f'{{"n":{literal}}}')).decode() == f'{{"n":{printed}}}'


def test_keys_are_sorted_as_javascript_sorts_them() -> None:
    payload = {"b": 1, "a": 1, "B": 1, "10": 1, "9": 1, "01": 1, "\uffff": 1, "\U0001f600": 1, "é": 1}
    keys = list(json.loads(canonical(payload)))
    assert keys == ["9", "10", "01", "B", "a", "b", "é", "\U0001f600", "\uffff"]


def test_half_a_surrogate_pair_is_escaped() -> None:
    assert canonical({"a": "\ud800"}) == b'{"a":"\\ud800"}'


def test_what_is_no_json_value_cannot_be_signed() -> None:
    with pytest.raises(TypeError, match="bytes is not a JSON value"):
        canonical({"a": b"x"})


def signed(payload: str, checksum: str, method: str | None = "canonical") -> bytes:
    members: dict[str, Any] = {**json.loads(payload), "checksum": checksum, "checksumMethod": method}
    return json.dumps(members, ensure_ascii=False).encode()


@pytest.mark.parametrize("checksum", [WEBHOOK_SUM, WEBHOOK_ESCAPED, WEBHOOK_SUM.upper()])
def test_a_webhook_signed_raw_or_escaped_verifies(checksum: str) -> None:
    assert verify(signed(WEBHOOK, checksum), KEY)


def test_a_bulk_payload_signed_in_the_escaped_form_verifies() -> None:
    assert verify(signed(BULK, BULK_ESCAPED, None), KEY)


def test_a_webhook_without_a_method_is_canonical() -> None:
    payload = {**json.loads(WEBHOOK), "checksum": WEBHOOK_SUM}
    del payload["checksumMethod"]
    assert verify(json.dumps(payload).encode(), KEY)


@pytest.mark.parametrize("checksum", [WEBHOOK_LEGACY, WEBHOOK_SUM])
def test_the_legacy_method_is_refused_whatever_it_carries(checksum: str) -> None:
    assert not verify(signed(WEBHOOK, checksum, "legacy"), KEY)


@pytest.mark.parametrize(
    "checksum",
    [
        WEBHOOK_LEGACY,
        "",
        "0" * 64,
        WEBHOOK_SUM[:-1],
        WEBHOOK_SUM + "0",
        "é" * 64,
        "g" * 64,
        "٠" * 64,
        f" {WEBHOOK_SUM}",
    ],
)
def test_any_other_checksum_is_refused(checksum: str) -> None:
    assert not verify(signed(WEBHOOK, checksum), KEY)


@pytest.mark.parametrize("key", ["", "CHK-test-key-2"])
def test_another_key_does_not_verify(key: str) -> None:
    assert not verify(signed(WEBHOOK, sign(json.loads(WEBHOOK), key)), KEY)
    assert not verify(signed(WEBHOOK, WEBHOOK_SUM), key)


def test_a_repeated_key_is_refused_though_the_checksum_fits_one_reading() -> None:
    good = signed(FLAT, sign(json.loads(FLAT), KEY)).decode()
    assert verify(good.encode(), KEY)
    assert not verify(good.replace("{", '{"billAmount": 1, ', 1).encode(), KEY)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"checksum": 5}',
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"x"',
        '{"checksum":"a"}'.encode("utf-16"),
    ],
)
def test_what_is_no_signed_object_does_not_verify_and_does_not_raise(raw: bytes) -> None:
    assert not verify(raw, KEY)


def test_an_object_is_loaded_strictly() -> None:
    assert load(b'{"a": {"b": 1}}') == {"a": {"b": 1}}
    with pytest.raises(ValueError, match="repeated"):
        load(b'{"a": {"b": 1, "b": 1}}')


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PAYLOADS = st.dictionaries(TEXT, VALUES, max_size=5)
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def reordered(value: Any) -> Any:
    """The same value with the members of every object in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(PAYLOADS, KEYS, st.booleans(), st.sampled_from([None, 2]))
def test_what_is_signed_verifies_however_it_is_written(
    payload: dict[str, Any], key: str, ascii_only: bool, indent: int | None
) -> None:
    whole = {"checksum": sign(payload, key), **reordered(payload)} | {"checksum": sign(payload, key)}
    assert verify(json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode(), key)


@given(PAYLOADS, KEYS)
def test_the_escaped_form_verifies_too(payload: dict[str, Any], key: str) -> None:
    text = canonical(payload).decode()
    escaped = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text).encode()
    checksum = hmac.new(key.encode(), escaped, hashlib.sha256).hexdigest()
    assert verify(json.dumps({**payload, "checksum": checksum}).encode(), key)


@given(PAYLOADS, PAYLOADS, KEYS)
def test_a_checksum_fits_no_other_content(one: dict[str, Any], other: dict[str, Any], key: str) -> None:
    whole = json.dumps({**other, "checksum": sign(one, key), "checksumMethod": "canonical"}).encode()
    assert verify(whole, key) is (canonical(one) == canonical(other))


@given(PAYLOADS)
def test_the_canonical_text_is_stable(payload: dict[str, Any]) -> None:
    text = canonical(payload)
    assert canonical(load(text)) == text


@given(st.binary(max_size=200))
def test_no_bytes_verify_by_chance(raw: bytes) -> None:
    assert not verify(raw, KEY)


@pytest.mark.parametrize("text", ["Asha", 'say "yes"', "a\\b", "tab\there", "Émile", "a\x7fb", "\ud800"])
def test_what_verifies_is_what_was_said(text: str) -> None:
    payload = {"event": "PAYMENT RECEIVED", "data": {"10": 1.50, "9": text, text: [text, None, True]}}
    raw = json.dumps({**payload, "checksum": sign(payload, KEY)}).encode()
    assert verified(raw, KEY) == {**payload, "checksum": sign(payload, KEY)}
    assert verified(raw.replace(b"PAYMENT", b"PAYMENTS"), KEY) is None
    assert verified(raw, "another key") is None
