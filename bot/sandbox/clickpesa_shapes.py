"""Where ClickPesa's own texts disagree or are silent: what the sandbox does, and how to make it do the other thing.

Source: ClickPesa BillPay API (before and since August 2026), webhooks (2024, 2025, 2026), BillPay FAQ. What no text
says is marked (unsourced).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

WEBHOOKS = ("2026", "2025", "2024")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """`create_echo`: a create is answered with the whole bill, as before August 2026, not with its number alone.
    `patch_whole`: an update is answered with everything, not only with what changed (both are shown).
    `unpaid_empty`: asking for the payments of a number that nobody paid gives [], not 404 (unsourced).
    `webhook`: which year's payload. `escaped`: checksums of webhooks are over text with everything outside ASCII
    escaped, as some of the samples do. `settled_event`: a payment that settles is told again (unsourced).
    `paid_order_active`: a paid order number still says ACTIVE though it takes no more money (unsourced).
    `failed_closes`: an attempt that failed closes an order number, as the FAQ has it when taken literally.
    `retry_s`: a webhook that was not answered 2xx is sent again after so many seconds each; none are documented.
    """

    create_echo: bool = False
    patch_whole: bool = True
    unpaid_empty: bool = False
    webhook: str = "2026"
    escaped: bool = False
    settled_event: bool = False
    paid_order_active: bool = False
    failed_closes: bool = False
    retry_s: tuple[float, ...] = ()


def changed(shapes: Shapes, asked: Mapping[str, Any]) -> Shapes:
    """`shapes` with what was asked for. Raises ValueError for a name or value there is not."""
    unknown = asked.keys() - asdict(shapes).keys()
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(asdict(shapes))}")
    try:
        found = replace(shapes, **msgspec.convert(asdict(shapes) | dict(asked), dict[str, Any]))
        found = msgspec.convert(asdict(found), Shapes)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if found.webhook not in WEBHOOKS:
        raise ValueError(f"webhook: expected one of {', '.join(WEBHOOKS)}")
    if any(each < 0 for each in found.retry_s):
        raise ValueError("retry_s: expected seconds, such as [1, 5, 30]")
    return found
