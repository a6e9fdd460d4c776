"""Messages of the quickstart; tests/learning/ runs it to the end."""

import io

import pytest
from rich.console import Console

from allyouneed import quickstart
from allyouneed.training.train import INTERRUPTED, Outcome


def test_paths_are_shown_verbatim(tmp_path, monkeypatch):
    requests = []
    monkeypatch.setattr(quickstart, "train", lambda request, _: requests.append(request) or Outcome(INTERRUPTED, {}))
    said, out = io.StringIO(), tmp_path / ("[bold]dates[/bold] " + ":cat: " * 20) / "run"
    with pytest.raises(KeyboardInterrupt):
        quickstart.run_quickstart(out, [], Console(file=said, width=80), "allyouneed")
    assert f"pairs in {out}-text\n" in said.getvalue()
    [request] = requests
    assert [corpus.paths[0].is_file() for corpus in (*request.train, *request.valid)] == [True, True]
