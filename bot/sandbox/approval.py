"""Meta approves every WhatsApp template at once: the shipped mapping, with ContentSids that this sandbox knows.

Reads the mapping's example, gives each entry the ContentSid that its name hashes to, and keeps its `body` as the text
which the customer's phone shows. Source: Twilio Content API ("ContentSid": HX and 32 hex digits).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

EXAMPLE = "whatsapp.example.toml"
_SECTION = re.compile(r"^\[([\w.-]+)\]\s*$")
_SID = re.compile(r'^content_sid\s*=\s*".*"')


def approve(example: Path, target: Path) -> dict[str, str]:
    """Write `example` with ContentSids to `target`; returns the registered text of each ContentSid."""
    text = example.read_text(encoding="utf-8")
    target.write_text(_with_sids(text), encoding="utf-8")
    sets = tomllib.loads(text).items()
    return {
        content_sid(f"{name}.{locale}.{kind}"): entry["body"]
        for name, locales in sets
        for locale, kinds in locales.items()
        for kind, entry in kinds.items()
    }


def content_sid(section: str) -> str:
    """The ContentSid of one entry, the same in every sandbox."""
    return "HX" + hashlib.sha256(section.encode()).hexdigest()[:32]


def _with_sids(text: str) -> str:
    lines, section = [], ""
    for line in text.splitlines():
        found = _SECTION.match(line)
        section = found.group(1) if found else section
        lines.append(_SID.sub(f'content_sid = "{content_sid(section)}"', line))
    return "\n".join(lines) + "\n"
