"""SMTP refusals, walked reply by reply."""

from __future__ import annotations

import pytest

from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    Unavailable,
    Uncertain,
)
from channels.smtp_codes import ENHANCED, GREYLIST_S, REPLIES, Stage, classify

AT_RECIPIENT: list[tuple[int, str, type[ChannelError]]] = [
    *[(code, "", Unavailable) for code in (421, 450, 451, 452, 454)],
    (451, "4.7.1 greylisted", Unavailable),
    (452, "4.2.2 full", Unavailable),
    (550, "", RecipientInvalid),
    (551, "", RecipientInvalid),
    (553, "", RecipientInvalid),
    *[
        (550, f"{code} no", RecipientInvalid)
        for code in ("5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")
    ],
    (550, "5.2.1 disabled", RecipientInvalid),
    (556, "5.1.10 null MX", RecipientInvalid),
    (552, "", Unavailable),
    (552, "5.2.2 full", Unavailable),
    (552, "5.3.4 too big", ContentRejected),
    *[
        (code, text, Misconfigured)
        for code in (550, 554)
        for text in ("5.7.1 no", "5.7.26 DMARC", "5.7.999 new")
    ],
    (550, "relay access denied", Misconfigured),
    (554, "message failed SPF", Misconfigured),
    *[(code, "", Misconfigured) for code in (530, 534, 535, 538)],
    (535, "5.7.8 bad", Misconfigured),
    *[(code, "", ContentRejected) for code in (500, 501, 502, 503, 504, 555)],
    (501, "5.1.3 bad syntax", RecipientInvalid),
    (550, "4.1.1 the reply code rules", RecipientInvalid),
    (450, "5.1.1 the reply code rules", Unavailable),
    (554, "", ContentRejected),
    (599, "", ContentRejected),
]


@pytest.mark.parametrize(("code", "text", "decision"), AT_RECIPIENT)
def test_a_refused_recipient_becomes_its_decision(code: int, text: str, decision: type[ChannelError]) -> None:
    assert type(classify(code, text, Stage.RECIPIENT)) is decision


@pytest.mark.parametrize(
    ("code", "text", "stage", "decision"),
    [
        (550, "", Stage.SENDER, Misconfigured),
        (553, "5.1.3 bad sender", Stage.SENDER, Misconfigured),
        (550, "5.1.8 bad sender domain", Stage.SENDER, Misconfigured),
        (450, "", Stage.SENDER, Unavailable),
        (552, "", Stage.DATA, ContentRejected),
        (550, "", Stage.DATA, ContentRejected),
        (554, "5.7.1 spam", Stage.DATA, Misconfigured),
        (421, "", Stage.DATA, Unavailable),
        (451, "", Stage.DATA, Unavailable),
        (-1, "gibberish", Stage.DATA, Uncertain),
        (200, "", Stage.DATA, Uncertain),
        (-1, "gibberish", Stage.SENDER, Unavailable),
        (554, "", Stage.CONNECT, Misconfigured),
        (421, "", Stage.CONNECT, Unavailable),
        (535, "5.7.8 bad", Stage.LOGIN, Misconfigured),
        (504, "", Stage.LOGIN, Misconfigured),
        (454, "4.7.0 temporary", Stage.LOGIN, Unavailable),
    ],
)
def test_the_command_decides_what_the_number_cannot(
    code: int, text: str, stage: Stage, decision: type[ChannelError]
) -> None:
    assert type(classify(code, text, stage)) is decision


@pytest.mark.parametrize("enhanced", sorted(ENHANCED))
def test_every_enhanced_code_of_the_table_decides(enhanced: str) -> None:
    error, meaning = ENHANCED[enhanced]
    found = classify(
        550, f"{enhanced if enhanced.count('.') == 2 else enhanced + '.77'} words", Stage.RECIPIENT
    )
    assert (type(found), found.detail) == (error, meaning)


@pytest.mark.parametrize("code", sorted(REPLIES))
def test_every_reply_code_of_the_table_decides(code: int) -> None:
    assert type(classify(code, "", Stage.RECIPIENT)) is REPLIES[code][0]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (450, "4.2.0 greylisted, see http://postgrey.schweikert.ch"),
        (451, "4.7.1 try later"),
        (450, "4.7.0 greylisted"),
        (450, "greylisted"),
        (451, ""),
    ],
)
@pytest.mark.parametrize("stage", [Stage.RECIPIENT, Stage.DATA])
def test_greylisting_is_waited_out_for_as_long_as_is_set(code: int, text: str, stage: Stage) -> None:
    error = classify(code, text, stage)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == GREYLIST_S > 300
    asked = classify(code, text, stage, greylist_s=7)
    assert isinstance(asked, Unavailable)
    assert asked.retry_after_s == 7


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (451, "4.3.0 later"),
        (451, "4.3.2 busy"),
        (450, "4.4.2 lost"),
        (451, "4.5.0 odd"),
        (421, ""),
        (452, "4.3.1 full"),
    ],
)
def test_what_is_no_greylisting_is_tried_again_soon(code: int, text: str) -> None:
    error = classify(code, text, Stage.RECIPIENT)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is None


def test_the_servers_words_are_not_repeated() -> None:
    error = classify(550, "5.1.1 <asha@example.com> unknown here", Stage.RECIPIENT)
    assert str(error) == "smtp 550 5.1.1: no such mailbox"
