"""The merchant's look: name, contact, tax number, colour and logo, read and checked once at start.

White text stands on the colour, and the colour stands on white paper, so one contrast covers both. A logo is kept whole
in every page, which must stay small: it is limited here, and only formats that every old browser shows are taken.

Source: WCAG 2.2, relative luminance, contrast ratio, success criterion 1.4.3 (4.5 for text of any size).
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.errors import ConfigError

LARGEST_LOGO = 6 * 1024
# A few bytes can hold millions of pixels, and every PDF unpacks them. Shown at 80 by 42 px, and at 108 by 54 pt.
MOST_PIXELS = 600
LEAST_CONTRAST = 4.5
GREEN = "#0b6b3a"
_WHITE = "#ffffff"
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture file: its bytes, and its media type."""

    data: bytes
    media_type: str

    @property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Look:
    """How the merchant appears. Raises ConfigError for a colour on which white text cannot be read."""

    name: str
    contact: str | None = None
    tin: str | None = None
    colour: str = GREEN
    logo: Logo | None = None

    def __post_init__(self) -> None:
        found = contrast(self.colour, _WHITE)
        if found < LEAST_CONTRAST:
            # Rounded down: 4.49 is not 4.5.
            raise ConfigError(
                f"MERCHANT_COLOUR: white text on it has a contrast of {math.floor(found * 100) / 100:.2f}; "
                f"expected a darker colour, with {LEAST_CONTRAST:.2f} or more"
            )

    @cached_property
    def logo_uri(self) -> str:
        """The logo for a page, empty if there is none."""
        return self.logo.uri if self.logo else ""


def read_logo(file: Path | None) -> Logo | None:
    """The merchant's logo. Raises ConfigError if it cannot be read, is no PNG or JPEG, or is too large either way."""
    if file is None:
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError("MERCHANT_LOGO: this file cannot be read") from error
    if len(data) > LARGEST_LOGO:
        raise ConfigError(f"MERCHANT_LOGO: {len(data)} bytes; expected {LARGEST_LOGO} at most")
    for signature, media_type in _SIGNATURES.items():
        if data.startswith(signature) and _decodes(data, media_type):
            return Logo(data, media_type)
    raise ConfigError("MERCHANT_LOGO: expected a PNG or JPEG picture")


def _decodes(data: bytes, media_type: str) -> bool:
    """Whether it is a picture. Raises ConfigError if it has too many pixels; they are counted before any is read."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=[media_type.partition("/")[2].upper()]) as picture:
            if max(picture.size) > MOST_PIXELS:
                wide, high = picture.size
                raise ConfigError(
                    f"MERCHANT_LOGO: {wide} by {high} pixels; expected {MOST_PIXELS} by {MOST_PIXELS} at most"
                )
            picture.load()
    except Image.DecompressionBombError as error:
        raise ConfigError(f"MERCHANT_LOGO: expected {MOST_PIXELS} by {MOST_PIXELS} pixels at most") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False
    return True


def contrast(one: str, other: str) -> float:
    """The contrast of two `#rrggbb` colours, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
