"""The page in a browser: accessible, in two languages, on a phone and a desktop, with its policy obeyed."""

from __future__ import annotations

import pytest
import torch

import allyouneed
from tests.verification.tutorial import TutorialTransformer

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("verify") / "verify.html"
    path.write_text(allyouneed.verify(TutorialTransformer("scale missing")).html(), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1100, "light")])
def test_the_page(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(path.as_uri())
    assert page.inner_text("h1") == "TutorialTransformer: 1 mistake found"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for code in ("en", "ko"):
        page.check(f"#{code}")
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    assert page.inner_text("h1") == "TutorialTransformer: 실수 1개를 찾았습니다"
    assert "√d_k = √16 = 4배 큼" in page.inner_text("main")
    assert messages == []
    page.close()
