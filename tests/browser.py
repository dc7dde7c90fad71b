"""The system's Chromium for tests of pages. Without one they are listed as skipped, unless it is required."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

# A loaded machine is slow, not wrong; Playwright's own five seconds are for fast ones.
expect.set_options(timeout=30_000)
# Nothing is fetched or reported behind a test's back.
_QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def _chromium() -> str | None:
    """The system's Chromium, wherever Linux distributions put it."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = (shutil.which(name) for name in names)
    usual = "/usr/bin/chromium"
    return next((path for path in found if path), usual if Path(usual).exists() else None)


# A browser lives as long as the loop that drives it: one for all tests of a file, which run in one loop.
NEEDS_BROWSER = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.browser,
    pytest.mark.skipif(
        _chromium() is None and os.environ.get("TUMA_REQUIRE_BROWSER") != "1", reason="there is no Chromium"
    ),
]


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    path = _chromium()
    assert path is not None, "TUMA_REQUIRE_BROWSER is 1, but there is no Chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_QUIET)
        yield browser
        await browser.close()
