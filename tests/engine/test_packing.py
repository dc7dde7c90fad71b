"""Commands are written by hiredis exactly as redis-py itself would write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection
from redis.exceptions import DataError

from bot.engine.store import _packing

OWN, LIBRARY = (
    kind(decode_responses=True, encoding_errors="replace") for kind in (_packing(Connection), Connection)
)
ARGUMENTS = st.one_of(
    st.text(), st.text(st.characters(categories=["Cs", "L"])), st.binary(), st.integers(), st.floats()
)


@given(st.sampled_from(["EVALSHA", "CONFIG GET", b"XADD", b"XGROUP CREATE"]), st.lists(ARGUMENTS))
def test_a_command_is_written_as_the_library_writes_it(name: str | bytes, arguments: list[Any]) -> None:
    assert b"".join(OWN.pack_command(name, *arguments)) == b"".join(LIBRARY.pack_command(name, *arguments))


@pytest.mark.parametrize("argument", [None, True, object()])
def test_what_the_library_refuses_is_refused(argument: Any) -> None:
    with pytest.raises(DataError):
        OWN.pack_command("SET", "a", argument)


def test_a_command_goes_out_in_one_piece() -> None:
    assert len(OWN.pack_command("EVALSHA", *["x" * 4000] * 10)) == 1
