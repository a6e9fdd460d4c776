"""The logit lens against the equations in NumPy, for both kinds of norm and separate vocabularies."""

import numpy as np
import pytest
import torch

from allyouneed import Transformer, UserError
from allyouneed.insight.layers.lens import MAX_LENGTH, agreement, lens_data
from allyouneed.insight.layers.logit_lens import logit_lens, nearest_source_tokens
from allyouneed.insight.layers.states import token_pair
from allyouneed.model.probe import Probe, StateRecorder
from tests.insight.conftest import decoded, perturbed, random_translator

TEXT, TRANSLATION = "a dog runs in the green park", "the cat sleeps"
MODELS = {
    "post": {},
    "pre": {"norm": "pre"},
    "final norm": {"final_norm": "true", "embedding_norm": "true"},
    "no final norm": {"norm": "pre", "final_norm": "false"},
    "untied": {"tie_embeddings": "false", "positions": "learned", "max_positions": 300},
}


@pytest.fixture(scope="module", params=MODELS)
def any_translator(request):
    return perturbed(random_translator(2, 2, 16, **MODELS[request.param]))


def by_hand(translator, pair):
    """States of the decoder and their logits, [state, position, vocab], in NumPy."""
    model, recorder = translator.model, StateRecorder("result")
    with torch.no_grad():
        logits = model(torch.tensor([pair.source]), torch.tensor([[2, *pair.target]]), Probe((recorder,)))[0].numpy()
    order = [("target", 0)] + [(k, i) for i in range(2) for k in ("decoder", "cross", "decoder feed-forward")]
    states = np.stack([recorder.sites[site]["result"][0].numpy() for site in order])
    w = {name: x.numpy() for name, x in model.state_dict().items()}
    if "decoder.norm.weight" in w:
        centred = states - states.mean(-1, keepdims=True)
        states = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        states = states * w["decoder.norm.weight"] + w["decoder.norm.bias"]
    return logits, states @ w["output.weight"].T + w.get("output.bias", 0)


def test_every_state_is_read_with_the_pre_softmax_linear(any_translator):
    pair = token_pair(any_translator, TEXT, TRANSLATION)
    lens = logit_lens(any_translator, TEXT, TRANSLATION)
    logits, expected = by_hand(any_translator, pair)
    np.testing.assert_allclose(expected[-1], logits, atol=1e-4)  # the last state is the model's own prediction
    final = logits.argmax(-1)
    p = np.exp(expected - expected.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    positions = np.arange(len(final))
    np.testing.assert_allclose(lens.log_p, np.log(p[:, positions, final]), atol=1e-4)
    above = (expected > expected[:, positions, final][..., None]).sum(-1)
    np.testing.assert_array_equal(lens.rank, above + 1)
    np.testing.assert_array_equal(lens.top_ids[..., 0], expected.argmax(-1))
    np.testing.assert_allclose(lens.top_p, -np.sort(-p, axis=-1)[..., :5], atol=1e-5)
    assert lens.final == any_translator.tokenizer.pieces(final.tolist())
    assert lens.inputs[0] == "<s>"
    assert lens.given[-1] == "</s>"
    assert lens.inputs[1:] == lens.given[:-1]
    for t, settled in enumerate(lens.settled):
        assert (expected[settled:, t].argmax(-1) == final[t]).all()
        assert settled == 0 or expected[settled - 1, t].argmax() != final[t]
    np.testing.assert_allclose(lens.agreement, (expected.argmax(-1) == final).mean(-1))


def test_curves_of_any_token(any_translator):
    lens = logit_lens(any_translator, TEXT, TRANSLATION)
    _, expected = by_hand(any_translator, token_pair(any_translator, TEXT, TRANSLATION))
    tokens = [[t + 5, 40] for t in range(len(lens.final))]
    rank, log_p = lens.curves(tokens)
    for t, ids in enumerate(tokens):
        for k, token in enumerate(ids):
            logits = expected[:, t]
            np.testing.assert_array_equal(rank[t, k], (logits > logits[:, [token]]).sum(-1) + 1)
            log_sum = np.log(np.exp(logits).sum(-1))
            np.testing.assert_allclose(log_p[t, k], logits[:, token] - log_sum, atol=1e-4)


def test_nearest_tokens_are_by_cosine(any_translator):
    nearest = nearest_source_tokens(any_translator, TEXT)
    ids = [*any_translator.tokenizer.encode(TEXT), 3]
    recorder = StateRecorder("result")
    with torch.no_grad():
        any_translator.model.encode(torch.tensor([ids]), Probe((recorder,)))
    table = any_translator.model.source_embedding.tokens.weight.detach().numpy()
    table = table / np.linalg.norm(table, axis=-1, keepdims=True)
    for number, site in enumerate(nearest.sites):
        state = recorder.sites[site]["result"][0].numpy()
        cosine = state @ table.T / np.linalg.norm(state, axis=-1, keepdims=True)
        np.testing.assert_array_equal(nearest.ids[number], np.argsort(-cosine, axis=-1)[:, :5])
        np.testing.assert_allclose(nearest.cosine[number], -np.sort(-cosine, axis=-1)[:, :5], atol=1e-5)
        own = cosine[np.arange(len(ids)), ids]
        np.testing.assert_allclose(nearest.own_cosine[number], own, atol=1e-5)
        np.testing.assert_array_equal(nearest.own_rank[number], (cosine > own[:, None]).sum(-1) + 1)


def test_page_data_hold_the_same_numbers(any_translator):
    pair = token_pair(any_translator, TEXT, TRANSLATION)
    lens = logit_lens(any_translator, TEXT, TRANSLATION)
    data = lens_data(any_translator, pair, [pair, token_pair(any_translator, "two words", "a red chair")])
    decoder = data["decoder"]
    pieces = decoder["pieces"]
    assert [[pieces[cell[0]] for cell in row] for row in decoder["cells"]] == lens.top
    finals = [pieces[row[i]] for row, i in zip(decoder["candidates"], decoder["final"], strict=True)]
    given = [pieces[row[i]] for row, i in zip(decoder["candidates"], decoder["given"], strict=True)]
    assert (finals, given) == (lens.final, lens.given)
    rank, log_p = decoded(decoder["rank"]), decoded(decoder["log_p"])
    for t, i in enumerate(decoder["final"]):
        np.testing.assert_array_equal(np.round(rank[t, i]), lens.rank[:, t])
        np.testing.assert_allclose(log_p[t, i], lens.log_p[:, t], atol=1e-3)
    share = data["agreement"]["share"]
    assert data["agreement"]["sentences"] == 2
    assert len(share) == 3
    assert share[-1] == 1


def test_agreement_over_sentences_is_the_mean_over_tokens(any_translator):
    texts = [(TEXT, TRANSLATION), ("two words", "and more a red chair"), ("a cat", "a")]
    found = agreement(any_translator, [token_pair(any_translator, *each) for each in texts])
    each = [logit_lens(any_translator, *text) for text in texts]
    hits = np.concatenate([(lens.rank == 1)[[0, 3, 6]] for lens in each], axis=1)
    assert found["share"] == pytest.approx(hits.mean(axis=1).tolist(), abs=1e-4)
    assert found["tokens"] == hits.shape[1]
    assert agreement(any_translator, []) is None


def test_separate_vocabularies():
    """The lens uses the output's vocabulary, the nearest tokens the source embedding's."""
    translator = random_translator(1, 2, 16, tie_embeddings="false")
    torch.manual_seed(5)
    size = len(translator.tokenizer)
    translator.bundle.model = Transformer(translator.bundle.config.model, size + 30, target_vocab_size=size).eval()
    translator.model = translator.bundle.model
    assert logit_lens(translator, TEXT, TRANSLATION).output.out_features == size
    assert nearest_source_tokens(translator, TEXT).ids.max() < size + 30


def test_long_and_empty_texts():
    translator = random_translator(1, 2, 16)
    long = "a " * (MAX_LENGTH + 1)
    assert lens_data(translator, token_pair(translator, long, "a")) is None
    with pytest.raises(UserError, match="empty"):
        logit_lens(translator, " ")
    learned = random_translator(1, 2, 16, positions="learned", max_positions=300)
    with pytest.raises(UserError, match="learned positions"):
        logit_lens(learned, long * 3, "a")
