"""The page of a comparison in a browser: accessible, in two languages, sorted, filtered and searched."""

from __future__ import annotations

import pytest

import allyouneed
from tests.translation.evaluation.test_scores import changed, sentences, write

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    reference = sentences(60, seed=1)
    source = [f"Zeile {number}" + " und mehr" * (number % 9) for number in range(1, 61)]
    weak = changed(changed(reference, 3), 4)
    strong = [*changed(reference[:40], 6)[:-1], "我们去公园散步。 <script>alert(1)</script>", *weak[40:]]
    names = ("source", "reference", "weak", "strong")
    files = [write(folder / name, lines) for name, lines in zip(names, (source, reference, weak, strong), strict=True)]
    return allyouneed.compare(files[2], files[3], files[:2], metrics="bleu,ter").save(folder / "compare.html")


def numbers(page) -> list[int]:
    return [int(text.split()[1]) for text in page.locator(".card h3").all_inner_texts()]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_the_page_is_accessible(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-US")
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    assert page.inner_text("h1") == "Comparison of two translators"
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        page.click("#language")
        page.click("#theme")
    page.click("#language")
    assert page.inner_text("h1") == "번역기 두 개 비교"
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("document.activeElement.id") == "language"
    assert messages == []
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_sentences_are_sorted_filtered_and_searched(browser, path):
    page = browser.new_page(locale="en-US")
    page.goto(path.as_uri())
    assert page.inner_text("#count").startswith("50 of 60 sentences. The sample: 50 sentences at equal distances")
    page.select_option("#sort", "line")
    assert numbers(page) == [(2 * each + 1) * 60 // 100 + 1 for each in range(50)]
    page.select_option("#show", "all")
    assert page.inner_text("#count") == "60 of 60 sentences"
    assert numbers(page) == list(range(1, 51))
    page.focus("#more")
    page.keyboard.press("Enter")
    assert len(numbers(page)) == 60
    assert page.evaluate("document.activeElement.querySelector('h3').textContent").startswith("line 51")
    page.select_option("#show", "equal")
    assert set(range(41, 61)) <= set(numbers(page))
    page.select_option("#show", "all")
    page.fill("#query", "zeile 40")
    assert numbers(page) == [40]
    assert "我们去公园散步。 <script>alert(1)</script>" in page.inner_text(".output.b")
    page.fill("#query", "nothing like this")
    assert page.inner_text("#list") == "No sentence matches."
    page.click("button[type=reset]")
    assert page.input_value("#query") == ""
    ranges = page.locator("#length option").all_inner_texts()
    assert ranges[0] == "any"
    counts = []
    page.select_option("#show", "all")
    for index in range(1, len(ranges)):
        page.select_option("#length", index=index)
        counts.append(int(page.inner_text("#count").split()[0]))
    assert sum(counts) == 60
    page.close()


def test_differing_words_are_marked(browser, path):
    page = browser.new_page(locale="en-US")
    page.goto(path.as_uri())
    marked = page.evaluate(
        """() => {
          const code = document.querySelector("script[type=module]").textContent;
          const run = new Function("document", "navigator", "matchMedia",
            code.replace(/\\ndraw\\(\\);\\n$/, "\\nreturn { differing, tokensOf };"));
          const { differing, tokensOf } = run(document, navigator, matchMedia);
          const pairs = [["a small dog runs", "a dog runs off"], ["去公园", "在公园"], ["don't go", "do not go"]];
          return [...pairs, ["", "x"]].map(([one, other]) => {
              const tokens = [tokensOf(one), tokensOf(other)];
              return differing(...tokens).map((found, side) => [...found].map((index) => tokens[side][index]));
            });
        }"""
    )
    assert marked == [[["small"], ["off"]], [["去"], ["在"]], [["don't"], ["do", "not"]], [[], ["x"]]]
    assert page.locator(".card mark").count() > 0
    page.select_option("#marks", "none")
    assert page.locator(".card mark").count() == 0
    page.select_option("#marks", "reference")
    assert page.locator(".card mark").count() > 0
    page.close()
