"""One bill as a PDF page: an invoice while it is to be paid, a receipt once it is, a warning when it must not be paid.

A4, the 14 standard fonts alone, so a page is a few kilobytes and opens anywhere; a letter that those fonts lack is
written without its marks, or as a question mark. The number and the steps are left out when nobody may pay to it.
Nothing is looked up, and the same facts make the same bytes.

Source: ISO 32000-1 (standard fonts, WinAnsi); ISO/IEC 18004 through segno (QR code).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
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
_PAYMENTS_SHOWN = 12


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
        when = formats.long_date(invoice.locale, due, self._zone) if due and not self._receipt else ""
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
            self._pairs(*older, whole, *so_far, ("left", invoice.amount))
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
        elif state != "paid":
            self._text(self._words[self._invoice.note], _INNER, size=12, font=_BOLD)
        if state == "paid":
            self._text(self._words["paid_note"], _INNER, size=12)
        if state != "open":
            self._y -= 4
            self._text(self._words["ending"], _INNER, size=10.5, colour=_SOFT)
        self._received()
        if state == "open":
            self._steps()

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

    def _received(self) -> None:
        """The payments, the newest at the end; more than fit are left out from the front."""
        invoice = self._invoice
        if not invoice.payments:
            return
        self._y -= 24
        self._write(self._words["payments"], _MARGIN, self._y, _BOLD, 12, _INK)
        most = _PAYMENTS_SHOWN if invoice.state != "open" else 4
        for each in invoice.payments[-most:]:
            self._y -= 18
            day = formats.date(invoice.locale, each.at, self._zone)
            self._write(day, _MARGIN, self._y, _PLAIN, 10.5, _INK)
            [reference] = lines(each.reference or "-", _PLAIN, 10.5, 240, 1)
            self._write(reference, _MARGIN + 110, self._y, _PLAIN, 10.5, _SOFT)
            self._canvas.setFillColor(_INK)
            self._canvas.setFont(_BOLD, 10.5)
            amount = formats.money(invoice.locale, each.amount, each.currency)
            self._canvas.drawRightString(_WIDTH - _MARGIN, self._y, writable(amount))
            if part := self._part(each):
                self._y -= 12
                self._write(part, _MARGIN + 110, self._y, _PLAIN, 9, _SOFT)
            self._rule(self._y - 6)
        self._y -= 10

    def _part(self, each: Received) -> str:
        """That not all of a payment counts for this bill."""
        if each.amount == each.whole:
            return ""
        word = self._words["part_of" if each.amount > 0 else "elsewhere"]
        return word.replace("{whole}", formats.money(self._invoice.locale, each.whole, each.currency))

    def _steps(self) -> None:
        """Ways to pay in two columns, as many as there is room for; the page behind the QR code has them all."""
        self._y -= 24
        self._write(self._words["how"], _MARGIN, self._y, _BOLD, 12, _INK)
        self._y -= 8
        gap = 22.0
        room, top = (_INNER - gap) / 2, self._y
        columns: list[float] = [top, top]
        for method in self._methods:
            block = self._block(method, room)
            at = 0 if columns[0] >= columns[1] else 1
            high = sum(size + 3 for _, _, size in block) + 9
            if columns[at] - high < _FOOT + 20:
                continue
            columns[at] = self._column(block, _MARGIN + at * (room + gap), columns[at] - 4)

    def _block(self, method: Method, room: float) -> list[tuple[str, str, float]]:
        """The lines of one way to pay: text, font, size in points."""
        amount = self._invoice.money(self._invoice.amount)
        steps = method.fill(self._invoice.locale, "ussd", number=self._invoice.number, amount=amount)
        block = [(method.name, _BOLD, 10.0)]
        for at, step in enumerate(steps, 1):
            block += [(line, _PLAIN, 8.5) for line in lines(f"{at}. {step}", _PLAIN, 8.5, room, 2)]
        return block

    def _column(self, block: list[tuple[str, str, float]], x: float, y: float) -> float:
        for line, font, size in block:
            y -= size + 3
            self._write(line, x, y, font, size, _INK)
        return y - 5

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
