"""`tuma bill snippet`: the HTML that puts a bill into another program's invoice."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Tuma

ONE = ("--number", "55042914871931", "--amount", "45000", "--channels", "sms", "--locale", "en")


@pytest.fixture
def shop(tuma_on_redis: Tuma) -> Tuma:
    tuma_on_redis.env |= {"PUBLIC_URL": "https://lipa.example", "MERCHANT_NAME": "Duka"}
    return tuma_on_redis


def test_it_prints_html_without_script_and_a_frame(shop: Tuma) -> None:
    shared = shop("share", *ONE, "--phone", "0754123456", "--json")
    assert shared.code == 0, shared.err
    html = shop("bill", "snippet", "55042914871931")
    assert html.code == 0
    assert html.out.startswith('<div class="tuma-bill" lang="en">')
    assert "Control number: <strong>55042914871931</strong>" in html.out
    assert "<script" not in html.out
    frame = shop("bill", "snippet", "55042914871931", "--frame", "--lang", "sw")
    assert frame.out.startswith('<iframe src="https://lipa.example/pay/')
    assert "/embed?lang=sw" in frame.out
    as_json = shop("bill", "snippet", "55042914871931", "--json").json
    assert as_json["html"].strip() == html.out.strip()
    assert as_json["invoice_url"] == as_json["url"] + "/invoice.pdf"


def test_where_a_number_has_two_contacts_it_asks_whose(shop: Tuma) -> None:
    shop("share", *ONE, "--phone", "0754123456", "--id", "mother")
    shop("share", *ONE, "--phone", "0754123457", "--id", "father", "--additional-contact")
    refused = shop("bill", "snippet", "55042914871931")
    assert refused.code == 1
    assert "father" in refused.err
    assert "--share" in refused.err
    chosen = shop("bill", "snippet", "55042914871931", "--share", "father", "--json")
    assert chosen.json["share"] == "father"
    assert shop("bill", "snippet", "55042914871931", "--share", "uncle").code == 1


def test_it_says_what_it_lacks(shop: Tuma) -> None:
    assert shop("bill", "snippet", "1").code == 1
    shop("share", *ONE, "--phone", "0754123456")
    assert shop("bill", "snippet", "55042914871931", "--lang", "fr").code == 2
    del shop.env["PUBLIC_URL"]
    without = shop("bill", "snippet", "55042914871931")
    assert without.code == 2
    assert "PUBLIC_URL" in without.err
