"""Training on several corpora with weights."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from allyouneed import UserError
from allyouneed.data.corpora import Corpus, as_corpora
from allyouneed.training.train import FINISHED, train
from tests.conftest import silent, toy_pairs, toy_request, write_pairs
from tests.training.test_resume import assert_same, crashing_after

WEIGHTS = (0.5, 3)


def mixed_request(folder, out):
    """Two corpora, of which the second is a TSV file."""
    second = folder / "second.tsv"
    folder.mkdir(parents=True, exist_ok=True)
    second.write_text("".join(f"{source}\t{target}\n" for source, target in toy_pairs(60, seed=5)))
    train_files = [write_pairs(folder, "first", toy_pairs(300)), [second]]
    return dataclasses.replace(
        toy_request(folder, out, ["training.validate_every=20"]), train=as_corpora(train_files, WEIGHTS)
    )


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    shown = io.StringIO()
    assert train(mixed_request(folder / "text", folder / "run"), Console(file=shown, width=200)).status == FINISHED
    return folder / "run", shown.getvalue()


def test_each_corpus_and_the_epoch_are_reported(mixed_run):
    run, shown = mixed_run
    kept = [report["kept"] for report in json.loads((run / "data" / "corpus.json").read_text())["corpora"]["train"]]
    drawn = [round(count * weight) for count, weight in zip(kept, WEIGHTS, strict=True)]
    assert (
        f"an epoch has {sum(drawn):,} pairs: {drawn[0]:,} of first.src, first.tgt (weight 0.5), "
        f"{drawn[1]:,} of second.tsv (weight 3)" in shown
    )
    page = (run / "report.html").read_text()
    assert all(title in page for title in ("train 1", "train 2", "train in all"))
    assert "first.src, first.tgt, second.tsv" in (run / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("step", [16, 33])
def test_a_crash_changes_nothing(mixed_run, tmp_path, monkeypatch, step):
    request = mixed_request(tmp_path / "text", tmp_path / "run")
    with crashing_after(step, monkeypatch):
        train(request, silent())
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", mixed_run[0])


def test_other_weights_are_another_run(mixed_run, tmp_path):
    request = mixed_request(tmp_path / "text", mixed_run[0])
    with pytest.raises(UserError, match=r"was started with --weights = 0.5,3, now 0.5,2"):
        train(dataclasses.replace(request, train=[request.train[0], Corpus(request.train[1].paths, 2)]), silent())
    with pytest.raises(UserError, match=r"was started with --weights = 0.5,3, now 1"):
        train(dataclasses.replace(request, train=[Corpus(each.paths) for each in request.train]), silent())


def test_the_command_line_takes_groups_and_weights(mixed_run, tmp_path, command):
    run = mixed_run[0]
    request = mixed_request(tmp_path / "text", run)
    [first, second], [valid] = request.train, request.valid
    settings = [part for setting in request.settings for part in ("--set", setting)]
    code, _, shown = command(
        *("train", "--from", "aa", "--to", "bb", "--train", *first.paths, "--train", *second.paths),
        *("--valid", *valid.paths, "--weights", "0.5,3", "--recipe", "tiny", "--out", run, *settings),
    )
    assert code == 0, shown
    assert "is already finished" in shown
