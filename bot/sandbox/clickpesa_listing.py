"""Which payments `GET /payments/all` means: filters, order and page.

Dates are days in UTC, both ends counted. Source: ClickPesa query-all-payments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bot.sandbox.clickpesa_bills import ClickPesaError, Payment

_SORTS: Mapping[str, Callable[[Payment], datetime]] = {
    "createdAt": lambda payment: payment.created,
    "updatedAt": lambda payment: payment.updated,
}


def page(payments: Sequence[Payment], query: Mapping[str, str], client_id: str) -> tuple[list[Payment], int]:
    """The page that `query` asks for, and how many there are in all. Raises ClickPesaError 400."""
    start, end = (
        _day(query, "startDate", "0001-01-01"),
        _day(query, "endDate", "9999-12-30") + timedelta(days=1),
    )
    found = [each for each in payments if start <= each.created < end and _passes(each, query, client_id)]
    sort, order = query.get("sortBy", "createdAt"), query.get("orderBy", "DESC").upper()
    if sort not in _SORTS:
        raise ClickPesaError(400, f"sortBy must be one of the following values: {', '.join(_SORTS)}")
    if order not in {"ASC", "DESC"}:
        raise ClickPesaError(400, "orderBy must be one of the following values: ASC, DESC")
    found.sort(key=_SORTS[sort], reverse=order == "DESC")
    skip, limit = _whole(query, "skip", 0), _whole(query, "limit", 20)
    return found[skip : skip + limit], len(found)


def _passes(payment: Payment, query: Mapping[str, str], client_id: str) -> bool:
    wanted = {
        "status": payment.status,
        "collectedCurrency": "TZS",
        "channel": payment.wallet,
        "orderReference": payment.number,
        "clientId": client_id,
    }
    return all(query.get(name) in (None, "", value) for name, value in wanted.items())


def _day(query: Mapping[str, str], name: str, default: str) -> datetime:
    text = query.get(name) or default
    for form in ("%Y-%m-%d", "%d-%m-%Y"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ClickPesaError(400, f"{name} must be a date in the form YYYY-MM-DD")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ClickPesaError(400, f"{name} must be a positive number")
    return int(text)
