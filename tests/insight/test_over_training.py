"""Data and page of heads over training: from a run with snapshots, an interrupted one, and one without."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

from allyouneed import Translator, UserError
from allyouneed.bundle import load_weights
from allyouneed.config import Config
from allyouneed.files import read_sealed
from allyouneed.insight.look import LookRequest, look_at
from allyouneed.insight.page import film_html
from allyouneed.insight.statistics.heads import MEASURES
from allyouneed.insight.statistics.over_training import BUDGET, film_data, film_json, film_page, role_lines
from allyouneed.insight.variants.switches import all_heads
from allyouneed.json_text import to_json
from allyouneed.snapshots import Snapshots
from allyouneed.training.train import train
from tests.conftest import silent, toy_pairs, toy_request, write_pairs
from tests.insight.conftest import Page

STEPS = [0, 2, 10, 22, 40]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    train(toy_request(folder / "text", folder / "run", ["training.keep_snapshots=5"]), silent())
    return folder / "run"


@pytest.fixture(scope="module")
def data(run):
    return film_data(Translator.load(run), run, "a b c d")


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def test_frames_are_the_snapshots_and_the_finished_model(data):
    assert [frame["step"] for frame in data["frames"]] == [*STEPS, 40]
    assert [frame["weights"] is None for frame in data["frames"]] == [True] * 5 + [False]
    assert data["run"] == {"planned": 40, "finished": True, "origin": "random", "start": None}
    assert (data["given"], data["corpus"], data["pairs"]) == (False, "validation", 30)
    assert data["frames"][-1]["translation"] == data["translation"]


def test_attention_is_that_of_the_snapshot(data, run):
    """The weights of step 10, loaded and run by other code."""
    translator = Translator.load(run)
    load_weights(translator.model, Snapshots(run / "snapshots").load(10), run)
    expected = translator.look("a b c d", data["translation"], stages=False)
    frame = data["frames"][2]
    for kind in ("encoder", "decoder", "cross"):
        np.testing.assert_allclose(frame["attention"][kind], getattr(expected, kind), atol=1e-5)
    assert len(data["target"]["tokens"]) == len(expected.target_tokens)
    assert not np.allclose(frame["attention"]["cross"], data["frames"][0]["attention"]["cross"], atol=1e-3)


def test_loss_is_the_mean_over_target_tokens(data, run):
    """Of step 22, sentence by sentence."""
    translator = Translator.load(run)
    load_weights(translator.model, Snapshots(run / "snapshots").load(22), run)
    total, tokens = 0.0, 0
    for source, target in json.loads((run / "data" / "valid.json").read_text())["pairs"]:
        ids = [*translator.tokenizer.encode(target), 3]
        with torch.no_grad():
            logits = translator.model(
                torch.tensor([[*translator.tokenizer.encode(source), 3]]), torch.tensor([[2, *ids[:-1]]])
            )
        total -= float(torch.log_softmax(logits[0], -1)[range(len(ids)), ids].sum())
        tokens += len(ids)
    assert data["frames"][3]["loss"] == pytest.approx(total / tokens, abs=2e-4)


def test_every_head_has_a_value_per_frame(data, run):
    heads = all_heads(Translator.load(run).model)
    assert [(row["kind"], row["layer"], row["head"]) for row in data["heads"]] == heads
    assert all(len(row[name]) == 6 for row in data["heads"] for name in (*MEASURES, "aer"))
    assert all((row["aer"][0] is None) == (row["kind"] != "cross") for row in data["heads"])
    assert all(each["score"] > 0 and 0 <= each["frame"] < 6 for each in data["roles"])


def test_chance_is_uniform_attention(data):
    sources = [len(source.split()) + 1 for source, _ in toy_pairs(30, seed=2)]  # a token per letter, and </s>
    queries = sum(sources)
    assert data["chance"]["encoder"]["entropy"] == pytest.approx(
        sum(n * np.log(n) for n in sources) / queries, rel=1e-3
    )
    assert data["chance"]["encoder"]["end"] == pytest.approx(len(sources) / queries, rel=1e-3)
    assert 0 < data["chance"]["cross"]["aer"] < 1


def test_json_has_plain_arrays(data):
    found = json.loads(film_json(data))
    assert np.allclose(found["frames"][1]["attention"]["cross"], data["frames"][1]["attention"]["cross"], atol=1e-4)
    assert len(role_lines(data)) == 5


def test_an_interrupted_run_ends_at_its_last_snapshot(copied):
    for step in (22, 40):
        shutil.rmtree(Snapshots(copied / "snapshots").path(step))
    record = read_sealed(copied / "run.json", dict, "")[0]
    del record["finished"]
    (copied / "run.json").write_text(to_json(record))
    translator = Translator.load(copied)
    translator.bundle.notes.pop("weights")  # the bundle of a validation
    data = film_data(translator, copied, "a b", "b a")
    assert [frame["step"] for frame in data["frames"]] == [0, 2, 10]
    assert (data["run"]["finished"], data["given"], data["translation"]) == (False, True, "b a")


def test_the_origin_of_step_0(copied):
    record = read_sealed(copied / "run.json", dict, "")[0]
    for asked, origin, start in [
        ({"start from": "runs/base model 1a2b"}, "start", "base model"),
        ({"teacher": "runs/big 1a2b"}, "teacher", None),
    ]:
        (copied / "run.json").write_text(to_json({**record, "asked": {**record["asked"], **asked}}))
        run = film_data(Translator.load(copied), copied, "a b", "b a")["run"]
        assert (run["origin"], run["start"]) == (origin, start)


def test_a_damaged_record_is_reported(copied):
    (copied / "run.json").write_text('{"asked": [], "plan": 3}')
    with pytest.raises(UserError, match=r"run\.json: "):
        film_data(Translator.load(copied), copied, "a b", "b a")


def test_other_text_and_no_sentence(run, tmp_path):
    files = write_pairs(tmp_path, "test", toy_pairs(6, seed=5))
    links = tmp_path / "links"
    links.write_text("0-0\n" * 6)
    data = film_data(Translator.load(run), run, test=files, alignments=links)
    assert (data["corpus"], data["pairs"], data["aligner"]) == ("test.src", 6, "links")
    assert data["text"]


def test_messages(run, toy_run, copied, tmp_path):
    with pytest.raises(UserError, match=r"no snapshots were kept .* --set training.keep_snapshots=20"):
        look_at(LookRequest(toy_run, over_training=True), Console(quiet=True))
    with pytest.raises(UserError, match="no snapshots were kept"):
        look_at(LookRequest(run / "bundle", over_training=True), Console(quiet=True))
    with pytest.raises(UserError, match="--translation needs a sentence"):
        look_at(LookRequest(run, over_training=True, translation="a"), Console(quiet=True))
    with pytest.raises(UserError, match="shorten it"):
        film_data(Translator.load(run), run, "a b " * 400, "a")
    (Snapshots(copied / "snapshots").path(10) / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="weights-00000010"):
        film_data(Translator.load(copied), copied, "a b")
    shutil.rmtree(copied / "data")
    with pytest.raises(UserError, match="--test SOURCE TARGET"):
        film_data(Translator.load(copied), copied, "a b")
    short = write_pairs(tmp_path, "long", [("a b c d e f g h " * 20, "a")])
    with pytest.raises(UserError, match="no sentence pair can be measured"):
        film_data(Translator.load(run), run, "a b", test=short)


def test_the_command_writes_a_page_or_json(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    assert look_at(LookRequest(run, "a b c", over_training=True), Console(file=output, width=200)) == ""
    assert "wrote film.html (6 snapshots)" in output.getvalue()
    found = look_at(LookRequest(run, "a b c", as_json=True, over_training=True), Console(quiet=True))
    assert len(json.loads(found)["frames"]) == 6


def test_large_pages_keep_the_strongest_keys():
    """4 + 4 layers, 4 heads, 60 tokens, 20 snapshots; with 20 tokens, all weights fit."""
    for tokens, top in ((20, None), (60, 4)):
        shape = (4, 4, tokens, tokens)
        attention = {kind: np.full(shape, 1 / tokens, np.float32) for kind in ("encoder", "decoder", "cross")}
        page = film_page({"frames": [{"attention": attention}] * 20})
        assert len(json.dumps(page)) <= BUDGET
        assert page["frames"][0]["attention"]["cross"].get("top") == top


def test_settings_describe_the_use_of_disk():
    description = Config.model_fields["training"].annotation.model_fields["keep_snapshots"].description
    assert "4 bytes per parameter" in description


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "film.html"
    page = film_page({**data, "languages": ["de", "en"]})
    path.write_text(film_html(page), encoding="utf-8")
    assert path.stat().st_size < 2_000_000
    return path


def test_the_slider_shows_the_values_of_each_snapshot(browser, path, data):
    with Page(browser, path) as page:
        assert page.text("#at") == "finished model"
        page.page.click("[data-kind=cross]")
        for place in (0, 3):
            page.page.eval_on_selector(
                "#film", "(node, place) => { node.value = place; node.dispatchEvent(new Event('input')) }", place
            )
            assert page.text("#at") == f"step {STEPS[place]}"
            chosen = page.page.get_attribute(".cell[aria-pressed=true]", "data-head")
            [row] = [x for x in data["heads"] if f"{x['kind']}.{x['layer']}.{x['head']}" == chosen]
            shown = page.numbers("#curves")
            for value in (data["frames"][place]["loss"], row["entropy"][place], row["aer"][place]):
                assert any(abs(value - each) < 0.006 for each in shown)
            weights = data["frames"][place]["attention"]["cross"][row["layer"], row["head"]].flatten()
            drawn = page.page.eval_on_selector_all("[data-weight]", "all => all.map((x) => Number(x.dataset.weight))")
            assert np.allclose(sorted(drawn), sorted(weights), atol=0.005)
        assert page.problems == []


def test_play_selection_and_languages(browser, path):
    with Page(browser, path) as page:
        page.page.click("#play")
        page.page.wait_for_selector("#at >> text=/^step 2$/")
        page.page.click("#play")
        assert "Play" in page.text("#play")
        page.page.click("[data-head='cross.0.1']")
        assert page.page.evaluate("document.activeElement.dataset.head") == "cross.0.1"
        assert page.text("#at") == "step 2"
        page.page.select_option("#least", "0.2")
        page.page.click("#values")
        assert "Step" in page.text("main") or "step 40" in page.text("main")
        page.page.click("[data-view=lines]")
        page.page.click("#language")
        assert "역할이 나타나는 시점" in page.text("main")
        assert page.problems == []


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "ko-KR", 360)])
def test_no_violations_of_accessibility_rules(browser, path, scheme, locale, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    options = {"color_scheme": scheme, "locale": locale, "viewport": {"width": width, "height": 900}}
    with Page(browser, path, **options) as page:
        page.page.select_option("#least", "0.2")
        page.page.click("#values")
        page.page.mouse.move(0, 0)
        found = axe.Axe().run(page.page).response["violations"]
        assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found] == []
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
