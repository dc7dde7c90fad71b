"""The merchant's look is checked at start: a colour that can be read, a logo that a page can carry."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from bot.app import renderer
from bot.errors import ConfigError
from bot.render.look import LARGEST_LOGO, LEAST_CONTRAST, MOST_PIXELS, Look, contrast, read_logo
from bot.settings import Settings


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.0),
    ],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize("colour", ["#ffffff", "#777777", "#ffcc00", "#5ecb8f"])
def test_a_colour_on_which_white_cannot_be_read_stops_the_start(colour: str) -> None:
    with pytest.raises(ConfigError, match=r"MERCHANT_COLOUR.*contrast"):
        renderer(Settings(merchant_colour=colour))


@pytest.mark.parametrize("colour", ["#0b6b3a", "#767676", "#1d3f8f", "#000000"])
def test_a_readable_colour_is_taken(colour: str) -> None:
    assert Look(name="Shule", colour=colour).colour == colour


@pytest.mark.parametrize(("name", "media_type"), [("logo.png", "image/png"), ("logo.jpg", "image/jpeg")])
def test_a_logo_is_read(tmp_path: Path, name: str, media_type: str) -> None:
    Image.new("RGB", (80, 40), "navy").save(tmp_path / name)
    logo = read_logo(tmp_path / name)
    assert logo is not None
    assert logo.media_type == media_type
    assert logo.uri.startswith(f"data:{media_type};base64,")


def test_a_logo_that_cannot_be_used_stops_the_start_and_says_why(tmp_path: Path) -> None:
    broken, large, text = tmp_path / "broken.png", tmp_path / "large.png", tmp_path / "logo.svg"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * LARGEST_LOGO)
    text.write_text("<svg/>")
    for file, why in (
        (broken, "PNG or JPEG"),
        (large, "at most"),
        (text, "PNG or JPEG"),
        (tmp_path / "absent.png", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=f"MERCHANT_LOGO.*{why}"):
            renderer(Settings(merchant_logo=file))


def test_a_logo_of_too_many_pixels_is_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    large, bomb = tmp_path / "large.png", tmp_path / "bomb.png"
    Image.new("1", (MOST_PIXELS + 1, 10)).save(large)
    # A header that claims 60,000 by 60,000 pixels, with nothing behind it.
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    size, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(head))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + size + head + check + struct.pack(">I", 9) + b"IDAT")
    for file in (large, bomb):
        with pytest.raises(ConfigError, match=r"MERCHANT_LOGO: .*600 pixels at most|600 by 600 at most"):
            renderer(Settings(merchant_logo=file))


def test_the_contrast_in_the_message_is_never_that_which_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"contrast of 4\.47; expected a darker colour, with 4\.50"):
        Look(name="Shule", colour="#777777")
    assert contrast("#757575", "#ffffff") >= LEAST_CONTRAST
    with pytest.raises(ConfigError, match=r"contrast of 4\.49;"):
        Look(name="Shule", colour="#707972")
