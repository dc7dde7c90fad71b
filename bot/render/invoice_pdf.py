"""One bill as a PDF page: an invoice while it is to be paid, a receipt once it is, a warning when it must not be paid.

A4, the 14 standard fonts alone, so a page is a few kilobytes and opens anywhere; a letter that those fonts lack is
written without its marks, or as a question mark. The number and the steps are left out when nobody may pay to it.
Every way to pay is on it: where its steps do not fit, they stand in brief, and past payments make room for them.
Nothing is looked up, and the same facts make the same bytes.

Source: ISO 32000-1 (standard fonts, WinAnsi); ISO/IEC 18004 through segno (QR code).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

from bot.render import locale as formats
from bot.render.invoice import Invoice, Received
from bot.render.look import Look
from bot.render.payment_methods import Method
from bot.render.typeset import lines, width, writable

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

_WIDTH, _HEIGHT, _MARGIN = 595.0, 842.0, 48.0
_INNER = _WIDTH - 2 * _MARGIN
_BAND, _QR, _FOOT = 92.0, 112.0, 62.0
_PLAIN, _BOLD, _MONO = "Helvetica", "Helvetica-Bold", "Courier-Bold"
_INK, _SOFT, _LINE, _PAPER, _WARN = "#1b1f24", "#565f6b", "#d9d4c7", "#f4f1ea", "#9a3412"
# Of an open bill that many payments are shown at most: what is left to pay needs the page more.
_PAYMENTS_SHOWN, _PAYMENTS_OF_OPEN = 12, 4
_SIZES, _COLUMNS, _GAP = (8.5, 7.5), (2, 3), 18.0
# What stands above the payments and the steps, and below them; a line of steps and what follows a block of them.
_ABOVE_PAYMENTS, _BELOW_PAYMENTS, _ABOVE_STEPS, _BELOW_BLOCK = 24.0, 10.0, 32.0, 9.0
_LEADING = 3.0
# A line of text: text, font, size in points.
_Line = tuple[str, str, float]


def pdf(
    invoice: Invoice, look: Look, methods: Sequence[Method], words: Mapping[str, str], zone: str
) -> bytes:
    """The page as a file. `words` are those of `templates/pages/words.toml` with the facts filled in."""
    return _Sheet(invoice, look, methods, words, zone).draw()


class _Sheet:
    """One page being drawn from top to bottom; `y` is where it goes on, in points from the bottom."""

    def __init__(
        self,
        invoice: Invoice,
        look: Look,
        methods: Sequence[Method],
        words: Mapping[str, str],
        zone: str,
    ) -> None:
        from reportlab.pdfgen.canvas import Canvas

        self._invoice, self._look, self._methods = invoice, look, methods
        self._words, self._zone = words, zone
        self._file = io.BytesIO()
        self._canvas: Canvas = Canvas(
            self._file, pagesize=(_WIDTH, _HEIGHT), invariant=1, lang=invoice.locale
        )
        self._y = _HEIGHT - _BAND - 34

    @property
    def _receipt(self) -> bool:
        return self._invoice.state == "paid"

    def draw(self) -> bytes:
        """Every part of the page."""
        title = self._words["receipt_title" if self._receipt else "bill"]
        self._canvas.setTitle(writable(f"{title}: {self._look.name}"))
        self._canvas.setAuthor(writable(self._look.name))
        self._band(title)
        top, left = self._y, _INNER - (_QR + 24 if self._invoice.url else 0)
        self._people(left)
        self._money(left)
        if self._invoice.url:
            self._code(self._invoice.url, top + 10)
            self._y = min(self._y, top - _QR - 22)
        self._what_now()
        self._foot()
        self._canvas.showPage()
        self._canvas.save()
        return self._file.getvalue()

    def _band(self, title: str) -> None:
        self._canvas.setFillColor(self._look.colour)
        self._canvas.rect(0, _HEIGHT - _BAND, _WIDTH, _BAND, stroke=0, fill=1)
        left = _MARGIN + (self._logo() if self._look.logo else 0.0)
        right = width(writable(title), _PLAIN, 20) + 24
        named = lines(self._look.name, _BOLD, 19, _WIDTH - _MARGIN - left - right, 2)
        middle = _HEIGHT - _BAND / 2 - 6 + 11 * (len(named) - 1)
        for at, line in enumerate(named):
            self._write(line, left, middle - 22 * at, _BOLD, 19, "#ffffff")
        self._canvas.setFont(_PLAIN, 20)
        self._canvas.drawRightString(_WIDTH - _MARGIN, _HEIGHT - _BAND / 2 - 6, writable(title))

    def _logo(self) -> float:
        """Draw the logo on a white field; how wide that is, with the gap after it."""
        from reportlab.lib.utils import ImageReader

        logo = self._look.logo
        picture = ImageReader(io.BytesIO(logo.data if logo else b""))
        pixels = picture.getSize()
        scale = min(108 / pixels[0], 54 / pixels[1])
        wide, high = pixels[0] * scale, pixels[1] * scale
        bottom = _HEIGHT - _BAND / 2 - high / 2
        self._canvas.setFillColor("#ffffff")
        self._canvas.roundRect(_MARGIN, bottom - 5, wide + 10, high + 10, 4, stroke=0, fill=1)
        self._canvas.drawImage(picture, _MARGIN + 5, bottom, wide, high, mask="auto")
        return wide + 24

    def _people(self, room: float) -> None:
        """Who owes, for what, until when; what is missing leaves no gap."""
        invoice, due = self._invoice, self._invoice.due_at
        payable = invoice.state == "open"
        when = formats.long_date(invoice.locale, due, self._zone) if due and payable else ""
        rows = (("to", invoice.name), ("about", invoice.description), ("due_label", when))
        for label, value in rows:
            if value:
                self._label(self._words[label])
                self._text(value, room, size=12, font=_BOLD if label == "to" else _PLAIN, most=3)
                self._y -= 7

    def _money(self, room: float) -> None:
        invoice = self._invoice
        self._y -= 6
        amount, colour = invoice.amount, _INK
        if invoice.state == "open":
            self._label(self._words["amount"])
        else:
            amount, colour = invoice.total, self._look.colour if self._receipt else _WARN
            self._text(self._words[invoice.state], room, size=17, font=_BOLD, colour=colour)
        if invoice.state in {"open", "paid"}:
            self._text(invoice.money(amount), room, size=27, font=_BOLD, colour=colour)
        if not self._receipt and (invoice.paid > 0 or invoice.older > 0):
            older = [("older", invoice.older)] if invoice.older > 0 else []
            whole = ("this_bill" if older else "total", invoice.total)
            so_far = [("paid_so_far", invoice.paid)] if invoice.paid > 0 else []
            left = [("left", invoice.amount)] if invoice.amount > 0 else []
            self._pairs(*older, whole, *so_far, *left)
        if invoice.credit > 0:
            self._pairs(("over", invoice.credit))
        self._y -= 6

    def _pairs(self, *rows: tuple[str, Decimal]) -> None:
        self._y -= 5
        for word, amount in rows:
            self._y -= 15
            self._write(self._words[word], _MARGIN, self._y, _PLAIN, 10.5, _SOFT)
            self._write(self._invoice.money(amount), _MARGIN + 150, self._y, _BOLD, 10.5, _INK)

    def _what_now(self) -> None:
        state = self._invoice.state
        if state == "open":
            self._number()
            self._pay()
            return
        note = self._words["paid_note" if state == "paid" else self._invoice.note]
        self._text(note, _INNER, size=12, font=_PLAIN if state == "paid" else _BOLD)
        self._y -= 4
        self._text(self._words["ending"], _INNER, size=10.5, colour=_SOFT)
        self._received(self._payments_in(self._room(), _PAYMENTS_SHOWN))

    def _room(self) -> float:
        return self._y - _FOOT - 20

    def _number(self) -> None:
        note = "exact" if self._invoice.exact else "once" if self._invoice.order_number else None
        number = formats.group(self._invoice.number)
        size = min(27.0, 27 * (_INNER - 32) / width(writable(number), _MONO, 27))
        self._y -= 78
        self._canvas.setFillColor(_PAPER)
        self._canvas.setStrokeColor(_LINE)
        self._canvas.roundRect(_MARGIN, self._y, _INNER, 70, 6, stroke=1, fill=1)
        self._write(self._words["number"], _MARGIN + 16, self._y + 48, _PLAIN, 10.5, _SOFT)
        self._write(number, _MARGIN + 16, self._y + 18, _MONO, size, _INK)
        if note:
            self._y -= 2
            self._text(self._words[note], _INNER, size=10.5, font=_BOLD)

    def _pay(self) -> None:
        """What was paid, and every way to pay the rest, as large as there is room for."""
        most = self._payments_in(self._room(), _PAYMENTS_OF_OPEN)
        least = min(most, 1)
        for size in _SIZES:
            arranged = [self._columns(columns, size) for columns in _COLUMNS]
            for shown, placed in product(range(most, least - 1, -1), arranged):
                high = max((y + _tall(block) for _, y, block in placed), default=0.0)
                if high <= self._room() - self._high(shown) - _ABOVE_STEPS:
                    self._received(shown)
                    self._heading("how")
                    for x, y, block in placed:
                        self._lines(block, x, self._y - y)
                    return
        self._brief(least)

    def _brief(self, shown: int) -> None:
        """The ways to pay on a line or two each; if that is still too much, that there are more."""
        blocks = [self._in_brief(method) for method in self._methods]
        wanted = sum(map(_tall, blocks)) + _ABOVE_STEPS
        self._received(shown if wanted <= self._room() - self._high(shown) else 0)
        self._heading("how")
        more = [(line, _BOLD, 9.0) for line in lines(self._words["more_ways"], _BOLD, 9.0, _INNER, 2)]
        for at, block in enumerate(blocks):
            rest = sum(map(_tall, blocks[at:]))
            if rest > self._room() and _tall(block) + _tall(more) > self._room():
                self._lines(more, _MARGIN, self._y)
                return
            self._y = self._lines(block, _MARGIN, self._y)

    def _heading(self, word: str) -> None:
        self._y -= 24
        self._write(self._words[word], _MARGIN, self._y, _BOLD, 12, _INK)
        self._y -= 8

    def _payments_in(self, room: float, most: int) -> int:
        """How many payments fit, `most` at most."""
        return next(
            (n for n in range(min(most, len(self._invoice.payments)), 0, -1) if self._high(n) <= room), 0
        )

    def _high(self, shown: int) -> float:
        """How high that many payments are, the newest, with their heading and with how many are not shown."""
        if not shown:
            return 0.0
        payments = self._invoice.payments
        rows = sum(30.0 if self._part(each) else 18.0 for each in payments[-shown:])
        more = 18.0 if shown < len(payments) else 0.0
        return _ABOVE_PAYMENTS + rows + more + _BELOW_PAYMENTS

    def _received(self, shown: int) -> None:
        """The newest payments, and how many came before them."""
        if not shown:
            return
        invoice = self._invoice
        self._y -= _ABOVE_PAYMENTS
        self._write(self._words["payments"], _MARGIN, self._y, _BOLD, 12, _INK)
        if before := len(invoice.payments) - shown:
            self._y -= 18
            word = self._words["payments_before"].replace("{count}", str(before))
            self._write(word, _MARGIN, self._y, _PLAIN, 10.5, _SOFT)
        for each in invoice.payments[-shown:]:
            self._y -= 18
            day = formats.date(invoice.locale, each.at, self._zone)
            self._write(day, _MARGIN, self._y, _PLAIN, 10.5, _INK)
            reference = next(iter(lines(each.reference or "", _PLAIN, 10.5, 240, 1)), "-")
            self._write(reference, _MARGIN + 110, self._y, _PLAIN, 10.5, _SOFT)
            self._canvas.setFillColor(_INK)
            self._canvas.setFont(_BOLD, 10.5)
            amount = formats.money(invoice.locale, each.amount, each.currency)
            self._canvas.drawRightString(_WIDTH - _MARGIN, self._y, writable(amount))
            if part := self._part(each):
                self._y -= 12
                self._write(part, _MARGIN + 110, self._y, _PLAIN, 9, _SOFT)
            self._rule(self._y - 6)
        self._y -= _BELOW_PAYMENTS

    def _part(self, each: Received) -> str:
        """That not all of a payment counts for this bill."""
        if each.amount == each.whole:
            return ""
        word = self._words["part_of" if each.amount > 0 else "elsewhere"]
        return word.replace("{whole}", formats.money(self._invoice.locale, each.whole, each.currency))

    def _columns(self, columns: int, size: float) -> list[tuple[float, float, list[_Line]]]:
        """Every way to pay with its steps: how far from the left, how far down, and its lines."""
        wide = (_INNER - (columns - 1) * _GAP) / columns
        ends, placed = [0.0] * columns, []
        for method in self._methods:
            block = self._block(method, wide, size)
            at = ends.index(min(ends))
            placed.append((_MARGIN + at * (wide + _GAP), ends[at], block))
            ends[at] += _tall(block)
        return placed

    def _block(self, method: Method, room: float, size: float) -> list[_Line]:
        """One way to pay, step by step."""
        amount = self._invoice.money(self._invoice.amount)
        steps = method.fill(self._invoice.locale, "ussd", number=self._invoice.number, amount=amount)
        block: list[_Line] = [(method.name, _BOLD, size + 1.5)]
        for at, step in enumerate(steps, 1):
            block += [(line, _PLAIN, size) for line in lines(f"{at}. {step}", _PLAIN, size, room, 4)]
        return block

    def _in_brief(self, method: Method) -> list[_Line]:
        """One way to pay as its menu path alone."""
        amount = self._invoice.money(self._invoice.amount)
        path = method.line(self._invoice.locale, number=self._invoice.number, amount=amount)
        return [(line, _PLAIN, 9.0) for line in lines(f"{method.name}: {path}", _PLAIN, 9.0, _INNER, 4)]

    def _lines(self, block: Sequence[_Line], x: float, y: float) -> float:
        for line, font, size in block:
            y -= size + _LEADING
            self._write(line, x, y, font, size, _INK)
        return y - _BELOW_BLOCK

    def _foot(self) -> None:
        look, y = self._look, _FOOT
        self._rule(y + 16)
        ask = self._words["ask"] + (f": {look.contact}" if look.contact else "")
        tin = f" · {self._words['tin']}" if look.tin else ""
        for text, font in ((self._words["pin"], _BOLD), (ask + tin, _PLAIN)):
            for line in lines(text, font, 9, _INNER, 2):
                self._write(line, _MARGIN, y, font, 9, _SOFT)
                y -= 12

    def _code(self, url: str, top: float) -> None:
        import segno

        rows = [list(row) for row in segno.make(url, error="m", micro=False).matrix]
        cell, left = _QR / len(rows), _WIDTH - _MARGIN - _QR
        path = self._canvas.beginPath()
        for at, row in enumerate(rows):
            for start, end in _runs(row):
                path.rect(left + start * cell, top - (at + 1) * cell, (end - start) * cell, cell)
        self._canvas.setFillColor("#000000")
        self._canvas.drawPath(path, stroke=0, fill=1)
        self._canvas.linkURL(url, (left, top - _QR, left + _QR, top))
        for at, line in enumerate(lines(self._words["scan"], _PLAIN, 8, _QR, 2)):
            self._write(line, left, top - _QR - 11 - 10 * at, _PLAIN, 8, _SOFT)

    def _label(self, text: str) -> None:
        self._text(text, _INNER, size=9.5, colour=_SOFT)

    def _text(
        self,
        text: str,
        room: float,
        *,
        size: float,
        font: str = _PLAIN,
        colour: str = _INK,
        most: int = 4,
    ) -> None:
        for line in lines(text, font, size, room, most):
            self._y -= size * 1.3
            self._write(line, _MARGIN, self._y, font, size, colour)

    def _write(self, text: str, x: float, y: float, font: str, size: float, colour: str) -> None:
        self._canvas.setFillColor(colour)
        self._canvas.setFont(font, size)
        self._canvas.drawString(x, y, writable(text))

    def _rule(self, y: float) -> None:
        self._canvas.setStrokeColor(_LINE)
        self._canvas.setLineWidth(0.7)
        self._canvas.line(_MARGIN, y, _WIDTH - _MARGIN, y)


def _tall(block: Sequence[_Line]) -> float:
    return sum(size + _LEADING for _, _, size in block) + _BELOW_BLOCK


def _runs(row: Sequence[Any]) -> list[tuple[int, int]]:
    """Where a row of modules is dark: from, to."""
    runs: list[tuple[int, int]] = []
    for at, dark in enumerate(row):
        if not dark:
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs
