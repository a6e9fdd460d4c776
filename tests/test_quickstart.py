"""Messages of the quickstart; tests/learning/ runs it to the end."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from allyouneed import quickstart
from allyouneed.training.train import FINISHED, INTERRUPTED, Outcome


def test_paths_are_shown_verbatim(tmp_path, monkeypatch):
    requests = []
    monkeypatch.setattr(quickstart, "train", lambda request, _: requests.append(request) or Outcome(INTERRUPTED, {}))
    said, out = io.StringIO(), tmp_path / ("[bold]dates[/bold] " + ":cat: " * 20) / "run"
    with pytest.raises(KeyboardInterrupt):
        quickstart.run_quickstart(out, [], Console(file=said, width=80), "allyouneed")
    assert f"pairs in {out}-text\n" in said.getvalue()
    [request] = requests
    assert [corpus.paths[0].is_file() for corpus in (*request.train, *request.valid)] == [True, True]


@pytest.mark.parametrize("exact", [17.9, 99.1])
def test_an_under_trained_translator_is_called_that(tmp_path, monkeypatch, capsys, exact):
    ending = "finished after 60 steps; under-trained: 60 steps, because the machine was 3.0 times slower"
    monkeypatch.setattr(quickstart, "train", lambda *arguments: Outcome(FINISHED, {}, ending=ending))
    translator = SimpleNamespace(translate=lambda texts: [])
    monkeypatch.setattr(quickstart, "Translator", SimpleNamespace(load=lambda out: translator))
    scores = SimpleNamespace(bleu=50.0, bleu_signature="", sentences=1000, exact_match=exact)
    monkeypatch.setattr(quickstart, "evaluate", lambda *arguments: scores)
    settings = ["training.minutes=4", "training.seed=2"]
    quickstart.run_quickstart(tmp_path / "run", settings, Console(quiet=True), "allyouneed")
    said = capsys.readouterr().out
    assert f"exact match {exact} %" in said
    continued = f"allyouneed quickstart --out {tmp_path / 'run'} --set training.minutes=8 --set training.seed=2"
    assert (ending in said and continued in said) == (exact < 95)
