"""Accessibility of every view: the rules of axe, and keyboard navigation."""

import pytest

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import corpus_html, html
from allyouneed.insight.statistics.corpus_heads import corpus_data
from tests.conftest import toy_pairs, write_pairs
from tests.insight.conftest import Page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
STEPS = {
    "heads": [],
    "a matrix": ["[data-view=matrix]", "[data-layer='0']"],
    "steps": ["#tab-steps", "[data-kind=decoder]"],
    "switches": ["#tab-switches"],
    "a comparison": ["#tab-switches", "[data-switch=future_mask]"],
    "a head off": ["#tab-switches", "[data-off='encoder.0.1']"],
    "lens": ["#tab-lens"],
    "similar tokens": ["#tab-lens", "#lens-encoder"],
    "positions": ["#tab-inside"],
    "embeddings": ["#tab-inside", "#insideEmbeddings"],
    "units": ["#tab-inside", "#insideUnits", "#stack-decoder"],
    "residual stream": ["#tab-inside", "#insideStream"],
    "training": ["#tab-twins"],
    "search": ["#tab-search", "[data-step='1']"],
    "two hypotheses": [
        "#tab-search",
        "#hypotheses tbody tr:nth-child(1) input",
        "#hypotheses tbody tr:nth-child(2) input",
    ],
    "why": ["#tab-attribution"],
    "why, by attention": ["#tab-attribution", "[data-method=rollout]"],
    "the guide": ["#tab-guide"],
    "the experiment": ["#tab-guide", "[data-step-name=why]"],
    "the masks": ["#tab-guide", "[data-step-name=masks]"],
    "figure 1": ["#tab-guide", "[data-step-name=decode]"],
}


@pytest.fixture(scope="module")
def path(translator, tmp_path_factory):
    path = tmp_path_factory.mktemp("access") / "look.html"
    data = {**explorer_data(translator, "a b c d"), "languages": ["de", "en"]}  # the toy languages have no codes
    path.write_text(html(data), encoding="utf-8")
    return path


def violations(page) -> list[str]:
    """Violations of axe's rules, each with its first element."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


SCHEMES = [("light", "en-GB", 1280), ("dark", "ko-KR", 390)]
# Each view with one of the schemes; the others are slow.
CASES = [
    pytest.param(view, *scheme, marks=[pytest.mark.slow] if (number + other) % 2 else [])
    for number, view in enumerate(STEPS)
    for other, scheme in enumerate(SCHEMES)
]


@pytest.mark.parametrize(("view", "scheme", "locale", "width"), CASES)
def test_explorer_has_no_violations(browser, path, view, scheme, locale, width):
    options = {"color_scheme": scheme, "locale": locale, "viewport": {"width": width, "height": 900}}
    with Page(browser, path, **options) as page:
        for selector in STEPS[view]:
            page.page.click(selector)
        page.page.mouse.move(0, 0)
        assert violations(page.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_corpus_page_has_no_violations(browser, translator, tmp_path, scheme):
    path = tmp_path / "heads.html"
    path.write_text(corpus_html(corpus_data(translator, write_pairs(tmp_path, "test", toy_pairs(20, seed=3)))))
    with Page(browser, path, color_scheme=scheme) as page:
        assert violations(page.page) == []


def test_every_view_is_reachable_by_keyboard(browser, path):
    """Tab focuses the tab list, arrows switch tabs, Tab enters the view; every control has a name."""
    with Page(browser, path) as page:
        keys = page.page.keyboard
        names = []
        tabs = page.page.eval_on_selector_all("[role=tab]", "found => found.map(x => x.id.slice(4))")
        for tab in tabs:
            page.page.focus(f"#tab-{tab}" if tab == "guide" else "[role=tab][aria-selected=true]")
            if tab == "guide":
                keys.press("Enter")
            else:
                keys.press("ArrowRight")
            assert page.page.get_attribute(f"#tab-{tab}", "aria-selected") == "true"
            for _ in range(6):
                keys.press("Tab")
                names.append(page.page.evaluate("document.activeElement.closest('#panel') !== null"))
        assert sum(names) >= 5 * len(tabs)
