"""Renews docs/pictures from the pages themselves: run `make pictures`, look at them, commit what changed.

Puts bills into every state in both languages with the demo's tuma and sandbox, on temporary data, and takes pictures
with the system's Chromium; PDFs are drawn by PDFium. `--out FOLDER` writes elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
from PIL import Image
from playwright.async_api import Browser, async_playwright, expect

from bot.demo import Customer, Stage, on_stage

HERE = Path(__file__).parent / "pictures"
COLOURS, GAP, GREY = 96, 14, (205, 205, 205)
TALLEST = 900
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
# What is paid of 45,000 in each state. A number is closed by a part payment, and renewed once ClickPesa made another.
# Of an older bill a rest is carried on to the next one, and then a little more comes in.
STATES = {"open": 0, "partial": 20_000, "older": 20_000, "paid": 45_000, "renewed": 20_000, "closed": 20_000}
LANGUAGES = {"sw": "Ada ya muhula wa 2", "en": "Term 2 fees"}
PEOPLE = ("Asha Juma", "Neema Kileo", "Zuhura Bakari", "Juma Hamisi", "Fatma Ally", "Grace Ng'ombe")
NAMES = dict(zip(STATES, PEOPLE, strict=True))


def customers() -> list[tuple[str, Customer]]:
    """One for each state and language, with the state."""
    return [
        (
            state,
            Customer(
                f"{state}-{lang}",
                NAMES[state],
                lang,
                f"550429148719{language}{index}",
                45_000,
                ("sms",),
                kind="customer" if state in {"partial", "older"} else "order",
                # Not among those whom the sandbox's picture shows.
                phone=f"+255{755 if state == 'older' else 754}0000{language}{index}",
                description=description,
            ),
        )
        for language, (lang, description) in enumerate(LANGUAGES.items(), 1)
        for index, state in enumerate(STATES)
    ]


async def play(stage: Stage) -> None:
    """Share every bill, pay what its state asks for, and wait for the receipts."""
    stage.due_in = timedelta(days=7)
    cast = customers()
    stage.seat([customer for _, customer in cast])
    for _, customer in cast:
        await stage.post(customer)
    for state, customer in sorted(cast, key=lambda pair: pair[0] == "closed"):
        await stage.until(f"{customer.key} was told", lambda c=customer: stage.told(c, "sms"))
        if state == "closed":
            stage.city.faults.set("clickpesa", "failing")  # no new number comes while this lasts
        if STATES[state]:
            await stage.city.pay(customer.number, STATES[state], "AIRTEL-MONEY")
            await stage.until(f"{customer.key} has a receipt", lambda c=customer: _twice(stage, c))
        if state == "older":
            await following(stage, customer)
            await stage.city.pay(customer.number, 10_000, "AIRTEL-MONEY")
            await stage.until(f"{customer.key} paid once more", lambda c=customer: _owes(stage, c, "75000"))


async def following(stage: Stage, customer: Customer) -> None:
    """Begin the next bill of a number, which is told at ClickPesa too."""
    url, key = f"{stage.base}/v1/bills/{customer.number}", {"Authorization": f"Bearer {stage.key}"}
    async with stage.http.patch(url, json={"term": "2", "amount": "60000"}, headers=key) as reply:
        reply.raise_for_status()


async def _owes(stage: Stage, customer: Customer, amount: str) -> bool:
    return (await stage.engine.bills.get(customer.number)).balance == amount


async def _twice(stage: Stage, customer: Customer) -> bool:
    return len(stage.screens(customer)["sms"]) >= 2


async def pages(stage: Stage, browser: Browser, lang: str, out: Path) -> None:
    """The pay page in each state, side by side; beneath nothing else."""
    made = await browser.new_context(viewport={"width": 360, "height": 640}, device_scale_factor=1.5)
    page = await made.new_page()
    shots = []
    for state in STATES:
        await page.goto(f"{stage.base}/pay/{await token(stage, state, lang)}?lang={lang}")
        shots.append(picture(await page.screenshot(full_page=True, animations="disabled")))
    sheet(shots, out / f"pay-page-{lang}.png")
    await made.close()


async def look_alikes(stage: Stage, browser: Browser, out: Path) -> None:
    """In the dark, on a desktop, on paper; and the page that says whether a bill is real."""
    bill = f"{stage.base}/pay/{await token(stage, 'open', 'en')}?lang=en"
    shots = []
    for width, scheme, media in ((360, "dark", "screen"), (780, "light", "screen"), (560, "light", "print")):
        made = await browser.new_context(viewport={"width": width, "height": 640}, color_scheme=scheme)  # type: ignore[arg-type]
        page = await made.new_page()
        await page.emulate_media(media=media)  # type: ignore[arg-type]
        await page.goto(bill)
        shots.append(picture(await page.screenshot(full_page=True, animations="disabled")))
        await made.close()
    made = await browser.new_context(viewport={"width": 360, "height": 640})
    page = await made.new_page()
    await page.goto(f"{stage.base}/check?lang=en")
    await page.get_by_label("Control number").fill("5504 2914 8719 20")
    await page.get_by_role("button").click()
    shots.append(picture(await page.screenshot(full_page=True, animations="disabled")))
    await made.close()
    sheet(
        [shot.crop((0, 0, shot.width, min(shot.height, TALLEST))) for shot in shots],
        out / "pay-page-other.png",
    )


async def invoices(stage: Stage, lang: str, out: Path) -> None:
    """The PDF in each state, side by side."""
    shots = []
    for state in STATES:
        url = f"{stage.base}/pay/{await token(stage, state, lang)}/invoice.pdf?lang={lang}"
        async with stage.http.get(url) as reply:
            document = pypdfium2.PdfDocument(await reply.read())
        shots.append(document[0].render(scale=0.95).to_pil())
    sheet(shots, out / f"invoice-{lang}.png")


async def sandbox(stage: Stage, browser: Browser, lang: str, out: Path) -> None:
    """The sandbox's page with the customers of one language: their messages, and the buttons that pay."""
    made = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await made.new_page()
    await page.goto(stage.city.urls["page"])
    await page.get_by_label("Find").fill(f"7540000{list(LANGUAGES).index(lang) + 1}")
    await expect(page.locator(".person")).to_have_count(len(STATES) - 1)
    shot = picture(await page.screenshot(full_page=True, animations="disabled"))
    small(shot).save(out / f"sandbox-{lang}.png", optimize=True)
    await made.close()


async def token(stage: Stage, state: str, lang: str) -> str:
    """The token of the page of one bill."""
    return (await stage.engine.shares.get(f"demo-{stage.run}-{state}-{lang}")).token


def picture(data: bytes) -> Image.Image:
    """A screenshot as a picture."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def sheet(shots: Sequence[Image.Image], file: Path) -> None:
    """Pictures side by side in one small file."""
    width = sum(shot.width + GAP for shot in shots) + GAP
    made = Image.new("RGB", (width, max(shot.height for shot in shots) + 2 * GAP), GREY)
    left = GAP
    for shot in shots:
        made.paste(shot, (left, GAP))
        left += shot.width + GAP
    small(made).save(file, optimize=True)


def small(shot: Image.Image) -> Image.Image:
    """Few colours; those that are rare are kept, as a warning is."""
    return shot.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)


async def main(out: Path) -> None:
    """Renew all of them."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with on_stage(print) as stage, async_playwright() as playwright:
        await play(stage)
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        for lang in LANGUAGES:
            await pages(stage, browser, lang, out)
            await invoices(stage, lang, out)
            await sandbox(stage, browser, lang, out)
        await look_alikes(stage, browser, out)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args().out
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(chosen))
