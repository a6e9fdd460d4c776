"""Draw the README's pictures: `make pictures RUN=RUN`, where RUN translates from English.

Screenshots in English and Korean of the page of `allyouneed serve` and of a head in `allyouneed look`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

FOLDER = Path(__file__).parent
SENTENCE = "two young men are playing soccer on the beach ."
LOCALES = {"en": "en-GB", "ko": "ko-KR"}  # browser locales, which the pages follow
ALLYOUNEED = [sys.executable, "-m", "allyouneed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sentence", default=SENTENCE)
    parser.add_argument("--browser", default=shutil.which("chromium"), help="path of a Chromium")
    args = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=args.browser, args=["--no-sandbox"])
        with served(args.run) as address:
            for language in LOCALES:
                draw_page(browser, language, address, args.sentence)
        look = Path(folder) / "look.html"
        subprocess.run([*ALLYOUNEED, "look", str(args.run), args.sentence, "--html", str(look)], check=True)
        for language in LOCALES:
            draw_heads(browser, language, look)
        browser.close()


def draw_page(browser: Browser, language: str, address: str, sentence: str) -> None:
    with opened(browser, language, address, width=1000, height=560) as page:
        with page.expect_response(lambda response: response.url.endswith("/api/translate") and response.ok):
            page.locator("#text").fill(sentence)
        expect(page.locator("#translation")).to_have_attribute("aria-busy", "false")
        page.locator("#translation .word").nth(2).hover()
        page.screenshot(path=FOLDER / f"page.{language}.png")


def draw_heads(browser: Browser, language: str, look: Path) -> None:
    with opened(browser, language, look.as_uri(), width=1000, height=760) as page:
        page.locator("[data-kind=cross]").first.click()
        page.locator("[data-head='cross.2.1']").click()
        page.screenshot(path=FOLDER / f"look.{language}.png")


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Run `allyouneed serve` and yield its address."""
    with subprocess.Popen([*ALLYOUNEED, "serve", str(run), "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        try:
            yield next(line.strip() for line in server.stderr if re.match("http://", line))
        finally:
            server.terminate()


@contextmanager
def opened(browser: Browser, language: str, address: str, width: int, height: int) -> Iterator[Page]:
    context = browser.new_context(
        locale=LOCALES[language], viewport={"width": width, "height": height}, color_scheme="light"
    )
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


if __name__ == "__main__":
    main()
