"""The rig of one channel, or of every channel in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.channels.rigs import RIGS, Rig


@pytest.fixture(params=list(RIGS), ids=str)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A running server and its channel; every channel in turn unless the test names one."""
    made = RIGS[request.param]()
    await made.start()
    yield made
    await made.stop()
