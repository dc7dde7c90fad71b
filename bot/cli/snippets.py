"""The HTML of one bill for `tuma bill snippet`: as it stands when the command runs, and a frame that stays true.

A snippet opens the page of one contact. Where a number has several, the command wants to know whose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bot.app import renderer
from bot.cli.output import Failed, Misused
from bot.errors import ConfigError, Problem
from bot.render.pagefiles import LANGUAGES
from bot.web.embed import frame, snippet
from bot.web.pagewriter import PageWriter

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings


class Snippet(msgspec.Struct, frozen=True, kw_only=True):
    """`html` needs no script; `frame` is shown by sites of TUMA_EMBED_ORIGINS alone."""

    number: str
    share: str
    url: str
    invoice_url: str
    html: str
    frame: str


async def of_number(
    engine: Engine, settings: Settings, number: str, share: str | None, lang: str | None
) -> Snippet:
    """The snippet of one contact of a number. Raises NotFound, ConfigError, Failed, Misused."""
    origin = settings.public_url
    if origin is None:
        raise ConfigError("PUBLIC_URL: not set, so nothing can link to a bill; expected https://...")
    if lang is not None and lang not in LANGUAGES:
        raise Misused(Problem(field="--lang", message="no such language", given=lang, expected="sw or en"))
    bill = await engine.bills.get(number)
    chosen = _chosen(number, bill.shares, share)
    page = await engine.shares.by_token((await engine.shares.get(chosen)).token)
    writer = PageWriter(settings, renderer(settings).look)
    spoken = lang or writer.language_of(page.locale)
    url = f"{origin}/pay/{page.token}"
    return Snippet(
        number=number,
        share=chosen,
        url=url,
        invoice_url=f"{url}/invoice.pdf",
        html=snippet(page, spoken, settings.timezone, origin, writer),
        frame=frame(page, spoken, origin, writer),
    )


def _chosen(number: str, shares: list[str], share: str | None) -> str:
    if share is not None:
        if share not in shares:
            raise Failed(f"{share} is no share of {number}; it has {', '.join(shares) or 'none'}")
        return share
    if len(shares) != 1:
        known = f"say whose with --share: {', '.join(shares)}" if shares else "nobody was sent it"
        raise Failed(f"{number} has {len(shares)} shares; {known}")
    return shares[0]
