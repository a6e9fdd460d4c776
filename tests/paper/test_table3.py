"""Table 3: scaling of rows, verdicts, and the command on toy data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from allyouneed.config import load_recipe, recipe_names
from allyouneed.errors import UserError
from allyouneed.paper.table3.ablations import RowJob, _plan, _row_request, chosen_rows, run_table3, scaled
from allyouneed.paper.table3.table3_page import PAPER, verdict
from allyouneed.training.request import base_config
from tests.conftest import TOY, silent, toy_request


def test_every_row_has_a_recipe_without_averaging():
    assert {f"table3/{name}" for name in PAPER} == {name for name in recipe_names() if name.startswith("table3/")}
    assert all(load_recipe(f"table3/{name}").training.average == 1 for name in PAPER)
    assert [sum(name.startswith(group) for name in PAPER) for group in "ABCDE"] == [4, 2, 7, 4, 1]


def test_rows_scale_in_proportion():
    base = load_recipe("ablation")
    assert scaled("base", base) == {"model": {}, "training": {}}
    assert scaled("C-layers-2", base)["model"] == {"encoder_layers": 1, "decoder_layers": 1}
    assert scaled("B-key-16", base)["model"] == {"d_k": 2}
    assert scaled("A-heads-32", base)["model"] == {"num_heads": 32}
    assert scaled("D-smoothing-0.2", base)["training"] == {"label_smoothing": 0.2}
    assert scaled("C-model-1024", base) == {
        "model": {"d_model": 128},
        "training": {"learning_rate": 0.00282843},
    }
    big = base.replace(**scaled("big", base))
    assert (big.model.d_model, big.model.d_ff, big.model.num_heads, big.training.steps) == (128, 512, 16, 6000)


def test_rows_are_chosen_by_letter_and_name():
    assert chosen_rows(["B", "E-learned"]) == ["base", "B-key-16", "B-key-32", "E-learned"]
    assert chosen_rows([]) == list(PAPER)
    for unknown in ("F", "AB"):
        with pytest.raises(UserError, match=f"--rows {unknown}"):
            chosen_rows([unknown])


def test_verdicts():
    assert verdict(measured=0.10, paper=0.05, spread=0.01) == "as in the paper"
    assert verdict(measured=-0.10, paper=0.05, spread=0.01) == "contrary to the paper"
    assert verdict(measured=0.01, paper=0.05, spread=0.01) == "too close to tell"
    assert verdict(measured=0.01, paper=0.0, spread=0.01) == "equal, as in the paper"
    assert verdict(measured=0.10, paper=0.0, spread=0.01) == "differs, equal in the paper"


def test_the_command_and_a_second_call_with_more_rows(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "out")
    toy = [setting for setting in TOY if not setting.startswith("training.validate_every")]  # the rows fix it
    settings = [*toy, "training.bleu_sentences=0", "training.warmup=2", "search.beam_size=3"]
    request = type(request)(request.train, request.valid, request.out, request.languages, None, settings)
    page = run_table3(request, minutes=0.1, rows=["E"], seeds=2, console=silent(), out=request.out)
    parts = json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]
    assert set(parts) == {"plan", "base, seed 1", "base, seed 2", "E-learned, seed 1"}
    assert {row["columns"]["steps"] for key, row in parts.items() if key != "plan"} == {parts["plan"]["steps"]}
    assert "| E-learned |" in page.read_text()
    assert "nan" not in page.read_text()
    assert "BLEU with beam 3, both on the validation set, without checkpoint averaging" in page.read_text()
    assert "too few rows for a rank correlation" in page.read_text()
    again = run_table3(request, minutes=0.1, rows=["B-key-16"], seeds=1, console=silent(), out=request.out)
    assert "| E-learned |" in again.read_text()
    assert "| B-key-16 |" in again.read_text()
    assert "Rank correlation (Spearman) with the paper's perplexities: " in again.read_text()
    stored = json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]
    assert {key: stored[key] for key in parts} == parts
    assert {path.name for path in (tmp_path / "out").glob("table3.*")} == {"table3.csv", "table3.png"}


def test_rows_do_not_average_even_if_the_base_does(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "out")  # recipe tiny, which averages
    base = base_config(request).override(request.settings)
    row = _row_request(request, base, RowJob("C-layers-8", 3), 20, tmp_path)
    training = base_config(row).override(row.settings).training
    assert base.training.average > 1
    assert (training.average, training.steps, training.validate_every, training.seed) == (1, 20, 20, 3)


def test_the_setting_training_minutes_is_refused(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "out", ["training.minutes=1"])
    with pytest.raises(UserError, match="give --minutes"):
        run_table3(request, 1, [], 1, silent(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("minutes", "steps", "required"), [(0.05, 0, 14), (4, 2, 14)])
def test_too_few_minutes_are_refused(tmp_path, minutes, steps, required):
    """At 40 s per step, 8 steps of two rows take 640 s of one worker, which is 80 % of 800 s: 13.3 minutes."""
    request = toy_request(tmp_path / "text", tmp_path / "out", ["training.warmup=8"])
    request = replace(request, data=tmp_path / "data", settings=[s for s in request.settings if "steps" not in s])
    (tmp_path / "trials").mkdir()

    class Pool:
        def map(self, *_):
            return [40.0]

    base = load_recipe("tiny").override(request.settings)
    with pytest.raises(
        UserError, match=f"allows {steps} steps per row, fewer than the warm-up: give {required} or more"
    ):
        _plan(Pool(), 1, request, base, [RowJob("base", 1), RowJob("base", 2)], minutes)
