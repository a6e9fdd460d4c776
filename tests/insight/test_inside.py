"""Feed-forward units, residual stream and embeddings against NumPy."""

import json

import numpy as np
import pytest
import torch

from allyouneed.insight.layers.embeddings import embedded_tokens, neighbours, position_table
from allyouneed.insight.layers.inside import MAX_LENGTH, inside_data
from allyouneed.insight.layers.states import chunks_of_pairs, token_pair, validation_pairs
from allyouneed.insight.layers.stream import residual_stream_lengths
from allyouneed.insight.layers.units import exciting_tokens, feed_forward_units, written_tokens
from allyouneed.model.embedding import sinusoids
from tests.insight.conftest import decoded, perturbed, random_translator

TEXT, TRANSLATION = "a dog runs in the green park", "the cat sleeps"
OTHERS = [
    ("two words", "and more a red chair"),
    ("a cat, a dog and a chair in the park", "a"),
    ("green", "red red red"),
]
MODELS = {
    "post": {},
    "pre": {"norm": "pre", "activation": "swish"},
    "learned": {"tie_embeddings": "false", "positions": "learned", "max_positions": 300},
}


@pytest.fixture(scope="module", params=MODELS)
def any_translator(request):
    return perturbed(random_translator(2, 2, 16, **MODELS[request.param]))


def weights(translator):
    return {name: x.numpy() for name, x in translator.model.state_dict().items()}


def inputs_of_networks(translator, pair):
    """Inputs and outputs of every feed-forward network, from hooks of PyTorch."""
    seen, hooks = [], []
    model = translator.model
    for layer in (*model.encoder.layers, *model.decoder.layers):
        save = lambda module, inputs, output: seen.append((inputs[0][0].numpy(), output[0].numpy()))  # noqa: E731
        hooks.append(layer.feed_forward.register_forward_hook(save))
    with torch.no_grad():
        model(torch.tensor([pair.source]), torch.tensor([[2, *pair.target]]))
    for hook in hooks:
        hook.remove()
    return {"encoder": seen[:2], "decoder": seen[2:]}


def test_units_sum_to_equation_2(any_translator):
    w, swish = weights(any_translator), any_translator.model.config.activation == "swish"
    networks = inputs_of_networks(any_translator, token_pair(any_translator, TEXT, TRANSLATION))
    for stack, layers in feed_forward_units(any_translator, TEXT, TRANSLATION).items():
        for layer, units in enumerate(layers):
            name = f"{stack}.layers.{layer}.feed_forward"
            x, output = networks[stack][layer]
            inner = x @ w[f"{name}.inner.weight"].T + w[f"{name}.inner.bias"]
            hidden = inner / (1 + np.exp(-inner)) if swish else np.maximum(inner, 0)
            np.testing.assert_allclose(units.activations, hidden, atol=1e-5)
            vectors = w[f"{name}.outer.weight"].T  # one per unit
            np.testing.assert_allclose(hidden @ vectors + w[f"{name}.outer.bias"], output, atol=1e-5)
            contributions = np.linalg.norm(hidden[..., None] * vectors, axis=-1)
            np.testing.assert_allclose(units.contributions, contributions, atol=1e-5)
            np.testing.assert_allclose(units.active, (inner > 0).mean(-1))
            strongest = units.strongest(6)
            assert len(set(strongest)) == 6
            first = contributions.argmax(-1)
            assert set(strongest[:3]) <= set(first) or len(set(first)) < 3


def test_tokens_that_excite_units(any_translator):
    pairs = [token_pair(any_translator, *each) for each in [(TEXT, TRANSLATION), *OTHERS]]
    selected = {("encoder", 1): [3, 0], ("decoder", 0): [7]}
    for (stack, layer), found in exciting_tokens(any_translator, pairs, selected, 3).items():
        hidden = [feed_forward_units(any_translator, *each)[stack][layer] for each in [(TEXT, TRANSLATION), *OTHERS]]
        tokens = np.concatenate([each.activations for each in hidden])
        assert found.active == pytest.approx((tokens > 0).mean(), abs=1e-6)
        assert found.never == (tokens <= 0).all(0).sum()
        for row, unit in enumerate(selected[stack, layer]):
            best = [each.activations[:, unit].max() for each in hidden]
            order = np.argsort(best)[::-1][:3]
            np.testing.assert_allclose(found.activations[row], np.array(best)[order], atol=1e-5)
            for place, sentence, value in zip(
                found.positions[row], found.sentences[row], found.activations[row], strict=True
            ):
                assert hidden[sentence].activations[place, unit] == pytest.approx(value, abs=1e-5)


def test_batches_do_not_change_what_excites(any_translator, monkeypatch):
    pairs = [token_pair(any_translator, *each) for each in OTHERS]
    whole = exciting_tokens(any_translator, pairs, {("decoder", 1): [1, 2]}, 2)["decoder", 1]
    monkeypatch.setattr("allyouneed.insight.layers.units._BATCH_TOKENS", 1)
    single = exciting_tokens(any_translator, pairs, {("decoder", 1): [1, 2]}, 2)["decoder", 1]
    np.testing.assert_allclose(whole.activations, single.activations, atol=1e-5)
    np.testing.assert_array_equal(whole.positions, single.positions)
    assert [len(batch) for batch in chunks_of_pairs(pairs, 1)] == [1, 1, 1]
    assert sum(len(batch) for batch in chunks_of_pairs(pairs, 30)) == 3


def test_tokens_that_a_unit_writes(any_translator):
    w, pre = weights(any_translator), any_translator.model.config.norm == "pre"
    gain = w["decoder.norm.weight" if pre else "decoder.layers.1.residuals.2.norm.weight"]
    vectors = w["decoder.layers.1.feed_forward.outer.weight"][:, [4, 9]].T * gain
    cosine = vectors @ w["output.weight"].T / np.linalg.norm(vectors, axis=-1, keepdims=True)
    cosine /= np.linalg.norm(w["output.weight"], axis=-1)
    found = written_tokens(any_translator.model, 1, [4, 9], 5, 3)
    np.testing.assert_array_equal(found.ids, np.argsort(-cosine)[:, :5])
    np.testing.assert_array_equal(found.opposed_ids, np.argsort(cosine)[:, :3])
    np.testing.assert_allclose(found.opposed_cosine, np.sort(cosine)[:, :3], atol=1e-5)


def test_lengths_of_the_residual_stream(any_translator):
    pre = any_translator.model.config.norm == "pre"
    networks = inputs_of_networks(any_translator, token_pair(any_translator, TEXT, TRANSLATION))
    embedded = embedded_tokens(any_translator, TEXT, TRANSLATION)
    for stack, lengths in residual_stream_lengths(any_translator, TEXT, TRANSLATION).items():
        each = 2 if stack == "encoder" else 3
        assert len(lengths.sites) == 2 * each == len(lengths.sum)
        side = "source" if stack == "encoder" else "target"
        np.testing.assert_allclose(lengths.residual[0], embedded[side].lengths[:, 2], atol=1e-5)
        np.testing.assert_allclose(lengths.residual[1:], lengths.result[:-1], atol=1e-5)
        if pre:
            np.testing.assert_allclose(lengths.sum, lengths.result, atol=1e-5)
        for layer, (x, output) in enumerate(networks[stack]):
            at = each * (layer + 1) - 1
            assert lengths.sites[at] == (f"{stack} feed-forward", layer)
            np.testing.assert_allclose(lengths.output[at], np.linalg.norm(output, axis=-1), atol=1e-5)
            if not pre:  # the input of the network is the residual
                np.testing.assert_allclose(lengths.residual[at], np.linalg.norm(x, axis=-1), atol=1e-5)
                np.testing.assert_allclose(lengths.sum[at], np.linalg.norm(x + output, axis=-1), atol=1e-5)
        squares = lengths.residual**2 + lengths.output**2 + 2 * lengths.cosine * lengths.residual * lengths.output
        np.testing.assert_allclose(lengths.sum**2, squares, rtol=1e-4)  # law of cosines


def test_neighbours_and_positions(any_translator):
    model, w = any_translator.model, weights(any_translator)
    for side in ("source", "target"):
        table = w[f"{side}_embedding.tokens.weight"]
        unit = table / np.linalg.norm(table, axis=-1, keepdims=True)
        cosine = unit[[5, 40]] @ unit.T
        cosine[[0, 1], [5, 40]] = -2
        found = neighbours(model, [5, 40], side, 4)
        np.testing.assert_array_equal(found.ids, np.argsort(-cosine)[:, :4])
        learned = w.get(f"{side}_embedding.positions")
        expected = sinusoids(20, 16).numpy() if learned is None else learned[:20]
        np.testing.assert_allclose(position_table(model, 20, side), expected)
    with pytest.raises(ValueError, match="side = 'both'"):
        neighbours(model, [5], "both")
    if model.config.positions == "learned":
        with pytest.raises(ValueError, match="max_positions = 300"):
            position_table(model, 301)


def test_page_data(any_translator):
    pair = token_pair(any_translator, TEXT, TRANSLATION)
    examples = [token_pair(any_translator, *each) for each in OTHERS]
    data = inside_data(any_translator, pair, examples)
    json.dumps(data, allow_nan=False)
    units = feed_forward_units(any_translator, TEXT, TRANSLATION)
    for stack, layers in data["units"].items():
        for layer, found in enumerate(layers):
            expected = units[stack][layer].activations[:, found["units"]]
            span = expected.max() - expected.min()
            np.testing.assert_allclose(decoded(found["activations"]), expected, atol=span / 400)
            assert len(found["over"]["places"]) == len(found["units"])
            i, j, _ = found["over"]["places"][0][0]
            assert data["examples"][stack][i].split("|")[j]
    lengths = residual_stream_lengths(any_translator, TEXT, TRANSLATION)["decoder"]
    np.testing.assert_allclose(decoded(data["stream"]["decoder"]["output"]), lengths.output, rtol=1e-3)
    learned = any_translator.model.config.positions == "learned"
    assert (data["positions"] is not None) == learned
    assert (data["embeddings"]["target"]["positions"] is not None) == learned
    assert inside_data(any_translator, pair)["examples"] is None


def test_long_pairs_have_no_view(any_translator):
    assert inside_data(any_translator, token_pair(any_translator, "a " * (MAX_LENGTH + 1), "a")) is None


def test_validation_text_of_a_run(translator, toy_run, tmp_path):
    pairs = validation_pairs(toy_run, translator, 7)
    assert len(pairs) == 7
    assert all(1 < len(pair.source) <= translator.longest_source for pair in pairs)
    assert validation_pairs(tmp_path, translator) == []
