"""`tuma webhook`: signing against published vectors, sending against a server that checks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot.billpay.checksum import verify
from tests.cli.conftest import Tuma

KEY = "CHK-test-key-1"
# Computed with node's crypto over the canonical form; see docs.clickpesa.com/home/checksum.
NUMBERS = (
    '{"z":null,"a":100.0,"b":100.50,"c":1e21,"d":1e-7,"e":123456789012,"f":true,"g":-0.0,'
    '"list":[{"y":2,"x":1},[3,null,"é"],1.10]}'
)
NUMBERS_CHECKSUM = "a02b53dc8c35cbf6e47aa26f395f6adfbf3667ff285c8ebb3eda783a6afd3ef1"


class Receiver(HTTPServer):
    """A server that keeps what it is told and answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def keyed(tuma: Tuma) -> Tuma:
    tuma.env["CLICKPESA_CHECKSUM_KEY"] = KEY
    return tuma


def test_a_payload_from_stdin_is_signed_as_javascript_prints_it(keyed: Tuma) -> None:
    assert keyed("webhook", "sign", "-", stdin=NUMBERS).out == NUMBERS_CHECKSUM + "\n"


def test_a_payload_from_a_file_is_signed_without_its_own_checksum(keyed: Tuma, tmp_path: Path) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps({**json.loads(NUMBERS), "checksum": "x", "checksumMethod": "canonical"}))
    assert keyed("webhook", "sign", payload, "--json").json["checksum"] == NUMBERS_CHECKSUM


def test_signing_needs_the_key(tuma: Tuma) -> None:
    ran = tuma("webhook", "sign", "-", stdin="{}")
    assert ran.code == 2
    assert "CLICKPESA_CHECKSUM_KEY" in ran.err


def test_what_is_no_json_object_is_refused(keyed: Tuma) -> None:
    ran = keyed("webhook", "sign", "-", stdin="[1]")
    assert ran.code == 1
    assert "payload: is not a JSON object" in ran.err


def test_a_file_that_is_not_there_is_a_usage_error(keyed: Tuma) -> None:
    assert keyed("webhook", "sign", "no.json").code == 2


def test_a_received_payment_is_posted_signed(keyed: Tuma, receiver: Receiver) -> None:
    ran = keyed(
        "webhook", "send", "received", "--number", "SOMA1", "--amount", "12500.50", "--url", receiver.url
    )
    [body] = receiver.bodies
    assert ran.code == 0
    assert verify(body, KEY)
    data = json.loads(body)["data"]
    assert (data["orderReference"], data["collectedAmount"], data["status"]) == (
        "SOMA1",
        "12500.50",
        "SUCCESS",
    )


def test_a_failed_payment_carries_its_reason_and_no_amount(keyed: Tuma, receiver: Receiver) -> None:
    keyed("webhook", "send", "failed", "--number", "SOMA1", "--message", "No funds", "--url", receiver.url)
    [body] = receiver.bodies
    payload = json.loads(body)
    assert payload["event"] == "PAYMENT FAILED"
    assert payload["data"]["message"] == "No funds"
    assert "collectedAmount" not in payload["data"]


def test_it_goes_to_the_tuma_of_the_settings(keyed: Tuma, receiver: Receiver) -> None:
    keyed.env["TUMA_LISTEN"] = f"0.0.0.0:{receiver.server_port}"
    ran = keyed("webhook", "send", "received", "--number", "1", "--amount", "5")
    assert "/webhooks/clickpesa" in ran.out


def test_without_a_key_it_goes_unsigned_and_says_so(tuma: Tuma, receiver: Receiver) -> None:
    ran = tuma("webhook", "send", "received", "--number", "1", "--amount", "5", "--url", receiver.url)
    assert "only a hint" in ran.err
    assert b"checksum" not in receiver.bodies[0]


def test_an_answer_other_than_2xx_fails(keyed: Tuma, receiver: Receiver) -> None:
    receiver.status = 401
    ran = keyed(
        "webhook", "send", "received", "--number", "1", "--amount", "5", "--url", receiver.url, "--json"
    )
    assert (ran.code, ran.json["status"]) == (1, 401)


def test_nobody_listening_is_one_line(keyed: Tuma) -> None:
    ran = keyed(
        "webhook", "send", "received", "--number", "1", "--amount", "5", "--url", "http://127.0.0.1:9"
    )
    assert ran.code == 1
    assert "is `tuma up` running there?" in ran.err


def test_a_received_payment_needs_an_amount(keyed: Tuma) -> None:
    assert keyed("webhook", "send", "received", "--number", "1").code == 2


def test_an_amount_that_is_none_is_refused(keyed: Tuma) -> None:
    ran = keyed("webhook", "send", "received", "--number", "1", "--amount", "1e5")
    assert ran.code == 2
    assert "--amount: the amount was mangled by a spreadsheet" in ran.err
