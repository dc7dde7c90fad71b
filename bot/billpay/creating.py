"""Creating a control number exactly once, whatever gets lost on the way.

The caller has stored the reference before the first try and gives the same one at every repeat, also after a crash:
then nothing is made twice. An answer that got lost is looked for under the reference before anything is tried again;
a reference that is taken by a number with equal details is our own earlier success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.billpay.client import ClickPesa
from bot.billpay.errors import ClickPesaAway, ClickPesaNotFound, ReferenceTaken
from bot.billpay.numbers import Created, ItemRefused, NewNumber, equal
from bot.domain.bill import BillKind

# An item's reason when its number exists already with other details.
TAKEN = "Bill reference already used with other details"


async def create_surely(client: ClickPesa, new: NewNumber, *, doubtful: bool = False) -> str:
    """The number, made now or by an earlier try. `doubtful`: an earlier try ended unknown, so look first.

    Raises ReferenceTaken when the reference belongs to a number with other details, Refused, and other
    ClickPesaError; after ClickPesaAway call again with `doubtful`.
    """
    if new.reference is None:
        raise ValueError("a number without a reference of ours cannot be looked for")
    if doubtful and await _found(client, new):
        return new.reference
    try:
        return await client.create(new)
    except ReferenceTaken:
        if await _found(client, new):
            return new.reference
        raise
    except ClickPesaAway:
        if await _found(client, new):
            return new.reference
    try:
        return await client.create(new)
    except ReferenceTaken:
        # The first try came through after we had looked.
        if await _found(client, new):
            return new.reference
        raise


async def create_many_surely(
    client: ClickPesa, kind: BillKind, new: Sequence[NewNumber], *, doubtful: bool = False
) -> list[Created | ItemRefused]:
    """`ClickPesa.create_many`, with the same care for each item: refused ones were looked for.

    Raises ReferenceTaken never (such an item is refused), else as `create_many`; after ClickPesaAway call again with
    `doubtful`.
    """
    if doubtful:
        return await _create_missing(client, kind, new)
    try:
        results = await client.create_many(kind, new)
    except ClickPesaAway:
        return await _create_missing(client, kind, new)
    return await _look_again(client, new, results)


async def _create_missing(
    client: ClickPesa, kind: BillKind, new: Sequence[NewNumber]
) -> list[Created | ItemRefused]:
    """After a try that ended unknown: look for every item, then make those that are not there."""
    known = await asyncio.gather(*(_state(client, each) for each in new))
    missing = [each for each, state in zip(new, known, strict=True) if state is None]
    made = iter(
        await _look_again(client, missing, await client.create_many(kind, missing)) if missing else ()
    )
    return [state if state is not None else next(made) for state in known]


async def _look_again(
    client: ClickPesa, new: Sequence[NewNumber], results: Sequence[Created | ItemRefused]
) -> list[Created | ItemRefused]:
    """The texts of reasons are not documented, so every refused item is looked for."""

    async def checked(each: NewNumber, result: Created | ItemRefused) -> Created | ItemRefused:
        return result if isinstance(result, Created) else await _state(client, each) or result

    return await asyncio.gather(*(checked(each, result) for each, result in zip(new, results, strict=True)))


async def _state(client: ClickPesa, new: NewNumber) -> Created | ItemRefused | None:
    """What an item's reference stands for at ClickPesa: our number, another one, or nothing."""
    assert new.reference is not None  # noqa: S101 - create_many needs one
    try:
        return Created(new.reference) if await _found(client, new) else None
    except ReferenceTaken:
        return ItemRefused(TAKEN)


async def _found(client: ClickPesa, new: NewNumber) -> bool:
    """Whether `new` exists at ClickPesa. Raises ReferenceTaken if its reference stands for something else."""
    assert new.reference is not None  # noqa: S101 - the callers see to it
    try:
        details = await client.details(new.reference)
    except ClickPesaNotFound:
        return False
    if equal(new, details):
        return True
    raise ReferenceTaken(TAKEN)
