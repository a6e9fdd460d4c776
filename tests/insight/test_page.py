"""The page in a browser: it shows the model's values, and sentences cannot inject code."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from allyouneed.insight import page as page_module
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import corpus_html, html, modules, script, static_text
from allyouneed.insight.statistics.corpus_heads import corpus_data
from allyouneed.insight.variants.switches import Switches
from tests.conftest import toy_pairs, write_pairs
from tests.insight.conftest import Page, random_translator

MODULES = modules("app.js", "live.js", "corpus.js", "film.js")
TEXT = "a b c d"
HOSTILE = [
    "<script>document.title='hacked'</script> <img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script> <!-- ]]> &lt; \" ' ` ${1}",
    "\u202eשלום עולם\u202c مرحبا بالعالم \u200f a b",
    "😀 👨‍👩‍👧 e\u0301 \u2028 \u2029 a",
]


@pytest.fixture(scope="module")
def data(translator):
    return explorer_data(translator, TEXT, translation="d c b a")


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "look.html"
    path.write_text(html(data), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, path):
    with Page(browser, path) as page:
        yield page
        assert page.problems == []


def all_texts() -> str:
    """Return the modules of texts: texts.js and NAME_texts.js."""
    return "".join(static_text(module) for module in MODULES if module.endswith("texts.js"))


def test_all_modules_are_included_and_names_are_unique():
    code = "".join(static_text(module) for module in MODULES)
    names = re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", code, flags=re.MULTILINE)
    assert len(names) > 300
    assert len(names) == len(set(names))
    assert "import " not in re.sub(r"//.*|/\*[\s\S]*?\*/|\"[^\"]*\"", "", script(*MODULES))
    static = Path(page_module.__file__).parent / "static"
    assert set(MODULES) == {path.name for path in static.glob("*.js")}
    for number, module in enumerate(MODULES):
        texts = re.findall(r'"\./(\w*texts\.js)"', static_text(module))
        assert set(texts) <= set(MODULES[:number])


def test_pages_contain_only_the_modules_they_need():
    assert "film.js" not in modules("app.js")
    assert set(modules("corpus.js")) < set(modules("app.js", "corpus.js"))
    assert "app.js" not in modules("corpus.js", "film.js")


def test_pages_are_ascii(data):
    assert html({**data, "text": "한국어 😀 \ud800"}).isascii()


def test_every_text_is_in_both_languages():
    texts = re.findall(r"(\w+): \[\s*(\"(?:[^\"\\]|\\.)*\"),\s*(\"(?:[^\"\\]|\\.)*\")\]", all_texts())
    assert len(texts) > 100
    for _, english, korean in texts:
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", korean)) or "{1}" in english
    used = {name for module in MODULES for name in re.findall(r"\bt\(\"(\w+)\"", static_text(module))}
    assert used <= {name for name, _, _ in texts}


def test_text_names_are_unique():
    """A later module would silently replace the text of an earlier one."""
    names = re.findall(r"[ {,](\w+): \[\s*\"(?:[^\"\\]|\\.)*\",\s*\"(?:[^\"\\]|\\.)*\"\]", all_texts())
    assert len(names) > 100
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_the_script_has_no_comments_and_strings_end_on_their_line():
    code = "".join(static_text(name) for name in MODULES)
    assert all(line.count("`") % 2 == 0 for line in code.splitlines())
    assert not [line for line in script(*MODULES).splitlines() if line.startswith(("//", "/**", " "))]


def test_every_text_is_used():
    """A name is quoted, composed from a quoted one (`scaleS`, `a_positions`, `why_ig`), or names a view."""
    names = re.findall(r"([a-z]\w*): \[", all_texts())
    code = "".join(static_text(module) for module in MODULES if not module.endswith("texts.js"))
    stems = {name: re.sub(r"^(a_|box|why_|whyAbout_)|(S|Long|Step|MaskText|Text|Hides)$", "", name) for name in names}
    assert len(names) > 100
    used = {name for name in names if f'"{name}"' in code or f'"{stems[name]}"' in code or f"{name}: {{ shown" in code}
    assert set(names) - used == set()


def test_weights_equal_the_models(opened, translator, data):
    attention = translator.look(TEXT, data["translation"])
    page = opened.page
    page.click("[data-kind=cross]")
    page.click("[data-head='cross.0.1']")
    page.hover("[data-side=row][data-place='1']")
    shown = [float(x) for x in page.eval_on_selector_all("[data-weight]", "found => found.map(x => x.dataset.weight)")]
    expected = attention.cross[0, 1, 1]
    assert shown == pytest.approx(expected[expected >= 0.005].tolist(), abs=2e-4)
    page.click("[data-view=matrix]")
    cells = page.eval_on_selector_all("rect[data-weight]", "found => found.map(x => Number(x.dataset.weight))")
    np.testing.assert_allclose(np.reshape(cells, attention.cross[0, 1].shape), attention.cross[0, 1], atol=2e-4)


@pytest.mark.parametrize("kind", ["decoder", "cross"])
def test_queries_of_the_decoder_are_named_after_their_input(opened, data, kind):
    """A query at position t has received input t and predicts target token t."""
    page = opened.page
    page.click(f"[data-kind={kind}]")
    titles = page.eval_on_selector_all("[data-side=row] title", "found => found.map(x => x.textContent)")
    bare = [token.replace("▁", "") for token in data["target"]["tokens"]]
    inputs = [token.replace("▁", "") for token in data["target"]["inputs"]]
    assert titles == [f"{query}, about to generate “{token}”" for query, token in zip(inputs, bare, strict=True)]
    label = page.get_attribute("[data-side=row][data-place='1']", "aria-label")
    assert label.startswith(f"{titles[1]} → ")
    page.hover("[data-side=row][data-place='1']")
    page.click("#tab-steps")
    assert page.inner_text("#choose-query option >> nth=1") == f"2 {inputs[1]} ▸ {bare[1]}"
    page.click("#tab-search")
    page.click("[data-step='2']")
    assert f"“{inputs[1]}”, about to generate “{bare[1]}”" in opened.text("#panel")


def test_heads_are_overlaid_and_removed(opened):
    page = opened.page
    page.click("#pin")
    page.click("[data-head='encoder.0.1']")
    assert (
        len(set(page.eval_on_selector_all("svg.lines path", "found => found.map(x => x.getAttribute('stroke'))"))) == 2
    )
    page.click(".legend button >> nth=0")
    assert page.eval_on_selector_all(".cell[aria-pressed=true]", "found => found.length") == 1


def test_tokens_are_merged_into_words(opened, data):
    page = opened.page
    page.click("#join")
    rows = page.eval_on_selector_all("[data-side=row]", "found => found.length")
    assert rows == len(data["source"]["words"]) + 1


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_saving_a_figure(opened, kind, tmp_path):
    with opened.page.expect_download() as download:
        opened.page.click(f"[data-save={kind}]")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    content = saved.read_bytes()
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<svg")


@pytest.mark.parametrize("tab", ["heads", "steps", "switches", "twins", "lens", "inside", "search"])
def test_saving_every_view(opened, data, tab, tmp_path):
    page = opened.page
    page.click(f"#tab-{tab}")
    with page.expect_download() as download:
        page.click("[data-view-save=SVG]")
    download.value.save_as(tmp_path / "view.svg")
    drawn = ElementTree.parse(tmp_path / "view.svg").getroot()
    texts = " ".join("".join(text.itertext()) for text in drawn.findall(".//{*}text"))
    assert page.inner_text("#panel .lead")[:20] in texts
    assert len(drawn.findall(".//{*}image")) == page.locator("#panel canvas").count()
    with page.expect_download() as download:
        page.click("[data-view-save=PNG]")
    download.value.save_as(tmp_path / "view.png")
    assert (tmp_path / "view.png").read_bytes().startswith(b"\x89PNG")


def test_selecting_all_heads_of_a_layer(opened):
    opened.page.click("[data-layer='0']")
    assert opened.page.locator(".cell[aria-pressed=true]").count() == 2


def test_a_score_through_all_stages_with_scale_and_mask_switched(opened, translator, data):
    stages = translator.look(TEXT, data["translation"]).stages["decoder"][0]
    page = opened.page
    page.click("#tab-steps")
    page.click("[data-kind=decoder]")
    page.select_option("#choose-query", "2")
    page.select_option("#choose-key", "1")
    score = stages["scores"][0, 2, 1]
    number = lambda name: float(page.inner_text(f"[data-number={name}]").replace("−", "-").replace("<", ""))  # noqa: E731
    assert number("score") == pytest.approx(score, abs=1e-3)
    assert number("scaled") == pytest.approx(score / np.sqrt(stages["queries"].shape[-1]), abs=1e-3)
    assert number("weight") == pytest.approx(stages["weights"][0, 2, 1], abs=1e-3)
    page.click("#local-scale")
    row = np.exp(stages["scores"][0, 2, :3] - stages["scores"][0, 2, :3].max())
    assert number("weight") == pytest.approx(row[1] / row.sum(), abs=1e-3)
    page.click("#local-mask")
    row = np.exp(stages["scores"][0, 2] - stages["scores"][0, 2].max())
    assert number("weight") == pytest.approx(row[1] / row.sum(), abs=1e-3)


def test_every_switch_shows_its_variant(opened, data):
    page = opened.page
    page.click("#tab-switches")
    for name in ("scale", "future_mask", "padding_mask", "positions"):
        page.click(f"[data-switch={name}]")
        assert page.get_attribute(f"[data-switch={name}]", "aria-checked") == "false"
        variant = data["variants"][f"{name}=off"]
        shown = opened.text("[data-translation=after]")
        assert shown.removesuffix("…").split() == variant["translation"]["text"].split()
        assert shown.endswith("…") == variant["translation"]["cut"]
        assert opened.numbers("[data-figure=logp]") == pytest.approx(
            [-data["base"]["predictions"]["log_p"], -variant["predictions"]["log_p"]], abs=0.0051
        )
        means = [np.mean(each["entropy"]) for each in (data["base"], variant)]
        assert opened.numbers("[data-figure=entropyMean]") == pytest.approx(means, abs=0.0051)
    page.click("[data-temperature='2']")
    assert page.get_attribute("[data-switch=positions]", "aria-checked") == "true"
    page.click("[data-off='encoder.0.1']")
    assert opened.text("[data-translation=after]")
    page.click("#paper")
    assert not page.query_selector("#comparison")


def test_aligned_words_are_highlighted(opened, data):
    page = opened.page
    page.click("#tab-search")
    [source, target, _] = data["links"][0]
    page.hover(f"[data-word='target.{target}']")
    assert "lit" in page.get_attribute(f"[data-word='source.{source}']", "class")
    assert "characters" in opened.text(".tip")


def test_stepping_through_the_search_and_changing_the_penalty(browser, small, tmp_path):
    found = explorer_data(small, "a dog runs", switches=[])
    path = tmp_path / "look.html"
    path.write_text(html(found), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click("#tab-search")
        nodes, [best, *_] = found["search"]["nodes"], found["search"]["ended"]
        score = nodes[best][3] / ((5 + nodes[best][1]) / 6) ** found["search"]["alpha"]
        assert page.numbers("#hypotheses tr.on td:last-child") == pytest.approx([-score], abs=1e-3)
        page.page.fill("#alpha", "0")
        best_log_p = max(nodes[place][3] for place in found["search"]["ended"])
        assert page.numbers("#hypotheses tr.on td:last-child") == pytest.approx([-best_log_p], abs=1e-3)
        page.page.click("[data-step='1']")
        assert page.page.input_value("#step") == "1"
        assert page.page.query_selector("#tree .later")
        assert page.problems == []


@pytest.mark.parametrize(
    ("tab", "slider"), [("steps", "#local-temperature"), ("search", "#alpha"), ("search", "#step")]
)
def test_sliders_keep_the_focus(browser, small, tmp_path, tab, slider):
    """The view is rendered while the slider moves, by keyboard and by pointer."""
    path = tmp_path / "look.html"
    path.write_text(html(explorer_data(small, "a dog runs", switches=[])), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click(f"#tab-{tab}")
        value = lambda: float(page.page.input_value(slider))  # noqa: E731
        page.page.focus(slider)
        page.page.keyboard.press("Home")
        lowest = value()
        for _ in range(3):
            page.page.keyboard.press("ArrowRight")
        step = float(page.page.get_attribute(slider, "step") or 1)
        assert value() == pytest.approx(lowest + 3 * step)
        box = page.page.locator(slider).bounding_box()
        x, y = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        for share in (0.6, 0.8, 1.0):
            page.page.mouse.move(box["x"] + share * box["width"], y)
        page.page.mouse.up()
        assert value() == float(page.page.get_attribute(slider, "max"))
        with page.page.expect_download() as download:
            page.page.click("[data-view-save=SVG]")
        download.value.save_as(tmp_path / "view.svg")
        assert page.page.inner_text("#panel .lead")[:20] in (tmp_path / "view.svg").read_text(encoding="utf-8")
        assert page.problems == []


def test_keyboard_language_and_theme(opened):
    page = opened.page
    page.focus("#tab-heads")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-steps", "aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    page.focus("[data-head='encoder.0.0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.get_attribute("[data-head='encoder.0.1']", "aria-pressed") == "true"
    page.focus("[data-side=row][data-place='0']")
    assert page.query_selector("[data-weight]")
    page.click("#language")
    assert page.inner_text("#tab-heads") == "헤드"
    assert page.get_attribute("html", "lang") == "ko"
    before = page.get_attribute("html", "data-theme")
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") != before


@pytest.mark.parametrize("tab", ["heads", "steps", "switches", "lens", "inside", "search"])
def test_views_fit_a_phone(browser, path, tab):
    with Page(browser, path, viewport={"width": 360, "height": 740}, color_scheme="dark", locale="ko-KR") as page:
        page.page.click(f"#tab-{tab}")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.problems == []


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_a_sentence_is_shown_as_text(browser, translator, tmp_path, text):
    path = tmp_path / "look.html"
    path.write_text(html(explorer_data(translator, text)), encoding="utf-8")
    with Page(browser, path) as page:
        for tab in ("steps", "switches", "search", "heads"):
            page.page.click(f"#tab-{tab}")
        assert "hacked" not in page.page.title().split("·")[-1]
        assert page.page.title().endswith("allyouneed")
        assert page.page.text_content(".pair p") == explorer_text(text)
        assert page.page.query_selector("#explorer img, #explorer script") is None
        assert page.problems == []


def explorer_text(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def test_the_policy_blocks_injected_scripts(browser, data, tmp_path):
    path = tmp_path / "look.html"
    path.write_text(
        html(data).replace("</body>", "<script>document.title = 'hacked'</script></body>"), encoding="utf-8"
    )
    with Page(browser, path) as page:
        assert page.page.title() != "hacked"
        assert any("Content Security Policy" in problem for problem in page.problems)


def test_512_tokens_are_usable(browser, translator, tmp_path):
    text = "a b c d e f g h " * 32
    found = explorer_data(translator, text, switches=[])
    path = tmp_path / "look.html"
    path.write_text(html(found), encoding="utf-8")
    assert len(found["source"]["tokens"]) > 200
    assert path.stat().st_size < 4_000_000
    with Page(browser, path) as page:
        page.page.hover("[data-side=row][data-place='3']")
        for tab in ("steps", "switches", "search", "heads"):
            page.page.click(f"#tab-{tab}")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert page.problems == []


def test_time_to_open_and_to_switch(browser, tmp_path):
    """6 layers of 8 heads. docs/insight.md has exact measurements; the limits here allow for a busy machine."""
    translator = random_translator(6, 8, 16)
    text = "a dog runs in the green park"
    path = tmp_path / "look.html"
    path.write_text(html(explorer_data(translator, text, [Switches(scale=False)], translation=text)), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click("#tab-switches")
        milliseconds = page.page.evaluate(
            "() => new Promise(done => { const start = performance.now();"
            " document.querySelector('[data-switch=scale]').click();"
            " requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))); })"
        )
        assert page.page.get_attribute("[data-switch=scale]", "aria-checked") == "false"
        assert milliseconds < 5000


def test_corpus_table_is_sorted_and_has_examples(browser, translator, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    found = corpus_data(translator, files)
    path = tmp_path / "heads.html"
    path.write_text(corpus_html(found), encoding="utf-8")
    with Page(browser, path) as page:
        for sort in ("entropy", "aer"):
            page.page.click(f"[data-sort={sort}]")
        first = page.page.get_attribute("#heads tbody tr >> nth=0 >> [data-row]", "data-row")
        aer = [row["aer"] for row in found["heads"]]
        assert aer[int(first)] == min(x for x in aer if x is not None)
        page.page.click(f"[data-row='{first}']")
        assert page.page.query_selector(".mats svg path")
        page.page.evaluate("document.styleSheets[0].insertRule('.tall { max-height: 8rem !important }')")
        last = page.page.locator("[data-row]").last.get_attribute("data-row")
        page.page.click(f"[data-row='{last}']")
        assert page.page.eval_on_selector(".tall", "table => table.scrollTop") > 0  # not back at the first row
        assert page.page.evaluate("document.activeElement.dataset.row") == last
        page.page.click("[data-sort=entropy]")
        assert page.page.eval_on_selector(".tall", "table => table.scrollTop") == 0
        page.page.click("#language")
        assert "말뭉치" in page.text(".pair")
        assert page.problems == []
