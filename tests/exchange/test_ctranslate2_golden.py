"""A stored model of CTranslate2, with the scores and translations that CTranslate2 gave: needs no other package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from allyouneed import Translator, exchange
from allyouneed.bundle import load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS

FOLDER = Path(__file__).parent / "data" / "ctranslate2-int8"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Translator:
    run = tmp_path_factory.mktemp("golden") / "run"
    message = exchange.import_bundle("ctranslate2", [FOLDER], run, "de", "en")
    assert "tokens separated by spaces" in message
    return Translator(load_bundle(run))


def test_scores(translator):
    tokenizer, added = translator.tokenizer, translator.tokenizer.target.vocabulary.names[BOS]
    assert added not in json.loads((FOLDER / "shared_vocabulary.json").read_text())  # the decoder starts from </s>
    for source, target, expected in zip(*(EXPECTED[name] for name in ("source", "target", "log_probs")), strict=True):
        source_ids, target_ids = (tokenizer.encode(" ".join(tokens)) for tokens in (source, target))
        with torch.no_grad():
            logits = translator.model(torch.tensor([[*source_ids, EOS]]), torch.tensor([[BOS, *target_ids]]))[0]
        logits[:, BOS] = -torch.inf
        scores = logits.log_softmax(1)[range(len(target) + 1), [*target_ids, EOS]]
        torch.testing.assert_close(scores, torch.tensor(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations(beam_size, translator):
    results = translator.translate(
        [" ".join(tokens) for tokens in EXPECTED["source"]],
        beam_size=beam_size,
        length_penalty=0.0,
        repetition_guard=False,
    )
    assert [result.text.split() for result in results] == EXPECTED[f"beam {beam_size}"]
