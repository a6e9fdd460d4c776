"""Activation patching: limits, cells against whole passes, a task whose mechanism is known, alignment, errors."""

import base64
import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from allyouneed import Translator, UserError
from allyouneed.bundle import Bundle
from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.patching.patch import align_positions, patch_models, patch_sentences
from allyouneed.insight.patching.patching_data import patching_table, sentences_data
from allyouneed.insight.patching.patching_run import (
    Cell,
    Patcher,
    all_cells,
    generate,
    head_cells,
    interventions,
    predict,
    record_pass,
)
from allyouneed.insight.words import Word
from allyouneed.model.probe import Probe
from allyouneed.model.transformer import Transformer, log_probabilities
from tests.insight.conftest import random_translator

CLEAN, CORRUPTED = "a dog runs in the green park", "a cat sleeps in the green park"


@pytest.fixture(scope="module")
def talker() -> Translator:
    """An untrained translator; without tied embeddings its predictions depend on the source."""
    return random_translator(2, 2, 16, tie_embeddings="false")


@pytest.fixture(scope="module")
def patched(talker):
    return patch_sentences(talker, CLEAN, CORRUPTED)


def test_effects_follow_the_definition(patched):
    for target, kept in zip(patched.targets, range(len(patched.targets)), strict=True):
        a, b = target.tokens
        clean, corrupted = (
            float(run.log_p[target.position, a] - run.log_p[target.position, b])
            for run in (patched.patcher.donor, patched.patcher.receiver)
        )
        for found in patched.maps.values():
            difference = found.log_p[kept, ..., 0] - found.log_p[kept, ..., 1]
            expected = (difference - corrupted) / (clean - corrupted)
            known = ~np.isnan(found.effect[kept])
            np.testing.assert_allclose(found.effect[kept][known], expected[known], atol=1e-4)


@torch.inference_mode()
def test_every_cell_equals_a_whole_pass_with_one_intervention(patched):
    """Batches that skip the layers below a cell, against one full forward pass per cell."""
    receiver = patched.patcher.receiver
    counterparts = patched.patcher.counterparts
    for name, cells in (all_cells(receiver, counterparts, 1) | head_cells(receiver, counterparts)).items():
        found = patched.maps[name].log_p[0].reshape(-1, 2)
        for index in range(0, len(cells), 5):
            cell = cells[index]
            if cell.position is not None and patched.patcher.counterparts[cell.stack][cell.position] < 0:
                continue
            probe = Probe(interventions=interventions(patched.patcher, [cell]))
            logits = receiver.model(receiver.source_ids, receiver.target_ids, probe)[0]
            log_p = log_probabilities(logits)[patched.targets[0].position]
            np.testing.assert_allclose(found[index], log_p[list(patched.targets[0].tokens)], atol=2e-5)


def test_the_last_layer_of_the_decoder_carries_everything_and_later_positions_nothing(patched):
    for kept, target in enumerate(patched.targets):
        effect = patched.maps["decoder stream"].effect[kept]
        assert effect[-1, target.position] == pytest.approx(1, abs=1e-4)
        assert np.abs(effect[-1, np.arange(effect.shape[1]) != target.position]).max(initial=0) < 1e-4
        assert np.abs(effect[:, target.position + 1 :]).max(initial=0) < 1e-4


def test_equal_length_memory_of_the_donor_gives_its_prediction(talker):
    """All positions of the encoder's output at once reproduce the donor's pass."""
    sources = [[*talker.tokenizer.encode("a dog"), EOS], [*talker.tokenizer.encode("a dog"), EOS]]
    sources[1][0] += 5
    donor, receiver = (record_pass(talker.model, source, [BOS, 9, 8]) for source in sources)
    identity = {"encoder": range(len(sources[0])), "decoder": range(3)}
    patcher = Patcher(donor, receiver, identity)
    depth = len(talker.model.encoder.layers)
    found = predict(patcher, [Cell("encoder stream", layer) for layer in range(depth + 1)], [(2, 5, 6)])
    expected = donor.log_p[2, [5, 6]].numpy()
    np.testing.assert_allclose(found.log_p[:, 0], np.tile(expected, (depth + 1, 1)), atol=2e-5)
    assert (found.top[:, 0, 0] == int(donor.log_p[2].argmax())).all()


def test_generation_continues_with_the_patched_activation(talker):
    source = [*talker.tokenizer.encode(CLEAN), EOS]
    other = [*talker.tokenizer.encode(CORRUPTED), EOS]
    length = min(len(source), len(other))
    donor, receiver = (record_pass(talker.model, ids[:length], [BOS]) for ids in (source, other))
    patcher = Patcher(donor, receiver, {"encoder": range(length), "decoder": range(1)})
    whole, nothing = Cell("encoder stream", 0), Cell("decoder stream", 0)
    for cell, ids in ((whole, source[:length]), (nothing, other[:length])):
        [found] = generate(patcher, [cell], 1, 6)
        target = [BOS]
        while len(target) <= 6 and target[-1] != EOS:
            logits = talker.model(torch.tensor([ids]), torch.tensor([target]))[0, -1]
            logits[[0, 1, 2]] = -torch.inf
            target.append(int(logits.argmax()))
        assert found == [token for token in target[1:] if token != EOS]


@pytest.fixture(scope="module")
def copier() -> Transformer:
    """A model that has learned to copy five of twelve tokens."""
    torch.manual_seed(0)
    config = ModelConfig(d_model=32, d_ff=64, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0, norm="pre")
    model = Transformer(config, 16).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, betas=(0.9, 0.98))
    for _ in range(320):
        ids = torch.randint(4, 16, (64, 5))
        end = torch.full((64, 1), EOS)
        logits = model(torch.cat([ids, end], 1), torch.cat([torch.full((64, 1), BOS), ids], 1))
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), torch.cat([ids, end], 1).flatten()).backward()
        optimizer.step()
    return model.eval()


def test_copying_is_carried_by_the_source_token_and_cross_attention(copier):
    """Only the third token differs: its encoder output carries the third copied token, by the cross attention there."""
    clean, corrupted = [4, 9, 6, 11, 5, EOS], [4, 9, 13, 11, 5, EOS]
    donor, receiver = (record_pass(copier, source, [BOS, 4, 9]) for source in (clean, corrupted))
    assert (int(donor.log_p[2].argmax()), int(receiver.log_p[2].argmax())) == (6, 13)
    patcher = Patcher(donor, receiver, {"encoder": range(6), "decoder": range(3)})
    maps = all_cells(receiver, patcher.counterparts, 1)
    span = float((donor.log_p[2, 6] - donor.log_p[2, 13]) - (receiver.log_p[2, 6] - receiver.log_p[2, 13]))

    def effects(name):
        found = predict(patcher, maps[name], [(2, 6, 13)]).log_p[:, 0]
        before = float(receiver.log_p[2, 6] - receiver.log_p[2, 13])
        return (found[:, 0] - found[:, 1] - before) / span

    memory = effects("encoder stream")[6:]
    assert memory.argmax() == 2
    assert memory[2] > 0.8
    assert np.abs(np.delete(memory, 2)).max() < 0.2
    cross = effects("cross")
    assert cross[2] > 0.8
    assert np.abs(cross[:2]).max() < 0.05
    assert np.abs(effects("decoder")).max() < 0.05


@pytest.mark.parametrize(
    ("donor", "receiver", "expected"),
    [
        ([5, 6, 7], [5, 8, 7], [0, 1, 2]),
        ([5, 6, 7], [5, 6, 9, 7], [0, 1, -1, 2]),
        ([5, 6, 9, 7], [5, 6, 7], [0, 1, 3]),
        ([5, 6, 7], [5, 8, 9, 7], [0, 1, -1, 2]),  # one word of two tokens for one of one token
        ([1, 2], [3, 4], [0, 1]),
    ],
)
def test_alignment(donor, receiver, expected):
    words = [Word(i, i + 1, -1, -1) for i in range(len(donor))]
    others = [Word(i, i + 1, -1, -1) for i in range(len(receiver))]
    if receiver[1:3] == [8, 9]:
        others = [Word(0, 1, -1, -1), Word(1, 3, -1, -1), Word(3, 4, -1, -1)]
    assert align_positions(donor, receiver, words, others) == expected


def test_positions_without_counterpart_are_not_patched(talker):
    found = patch_sentences(talker, CLEAN, "a very big cat sleeps in the green park")
    missing = np.array(found.counterparts) < 0
    assert missing.any()
    for name in ("encoder", "encoder stream", "encoder feed-forward"):
        effect = found.maps[name].effect
        assert np.isnan(effect[..., missing]).all()
        assert np.isfinite(effect[..., ~missing]).all()
    assert np.isfinite(found.maps["encoder heads"].effect).all()


def other_weights(translator: Translator, noise: float) -> Translator:
    """A second checkpoint: the same translator with changed weights."""
    model = Transformer(translator.model.config, translator.model.vocab_size)
    model.load_state_dict(translator.model.state_dict())
    torch.manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * parameter.std() * torch.randn_like(parameter) if parameter.dim() > 1 else 0
    return Translator(dataclasses.replace(translator.bundle, model=model))


def test_two_checkpoints(talker):
    other = other_weights(talker, 0.3)
    found = patch_models(talker, other, CLEAN)
    assert found.maps["decoder stream"].first_layer == 0
    target = found.targets[0]
    assert found.maps["decoder stream"].effect.shape[1] == 3
    assert found.patcher.donor.model is talker.model
    donor = float(found.patcher.donor.log_p[target.position, target.tokens[0]])
    assert target.clean[0] == pytest.approx(donor)


def test_errors(talker):
    with pytest.raises(UserError, match="give two sentences that differ"):
        patch_sentences(talker, CLEAN, f" {CLEAN} ")
    with pytest.raises(UserError, match="the sentence is empty"):
        patch_sentences(talker, CLEAN, "  ")
    with pytest.raises(UserError, match="limit of patching is 64: shorten"):
        patch_sentences(talker, CLEAN, "park " * 80)
    with pytest.raises(UserError, match="predict the same tokens"):
        patch_models(talker, other_weights(talker, 0), CLEAN)
    with pytest.raises(UserError, match="same architecture"):
        patch_models(talker, random_translator(3, 2, 16, tie_embeddings="false"), CLEAN)
    vocabulary = random_translator(2, 2, 16)
    vocabulary.tokenizer = type("Other", (), {"files": lambda self: {}})()
    with pytest.raises(UserError, match="same vocabulary"):
        patch_models(talker, vocabulary, CLEAN)


def test_hostile_text(talker):
    found = patch_sentences(talker, "</script><b>x & 한국어 \x00 <s> ▁", "</script><i>x & 한국 \u202e <s> ▁")
    assert all(np.isfinite(each.log_p).all() for each in found.maps.values())


def test_bundles_are_not_changed(talker, patched):
    assert isinstance(talker.bundle, Bundle)
    assert not any(each._forward_hooks for each in talker.model.modules())
    again = patch_sentences(talker, CLEAN, CORRUPTED)
    for name, found in patched.maps.items():
        np.testing.assert_array_equal(found.effect, again.maps[name].effect)


def test_data_for_the_page(talker, patched):
    data = json.loads(json.dumps(sentences_data(talker, CLEAN, CORRUPTED), allow_nan=False))
    assert [side["text"] for side in data["sides"]] == [CLEAN, CORRUPTED]
    pieces = talker.tokenizer.target.pieces
    for name, found in patched.maps.items():
        packed = data["maps"][name]
        assert packed["effect"]["shape"] == list(found.effect.shape)
        if name.endswith("positions"):
            continue
        indices = np.frombuffer(base64.b64decode(packed["tops"]["data"]), "<u2").reshape(found.top.shape)
        assert [data["pieces"][i] for i in indices[0, -1, 0]] == pieces(found.top[0, -1, 0])
    assert data["places"][0]["tokens"] == pieces(patched.targets[0].tokens)
    assert data["continued"]
    [plain] = patched.continuations([None], 11)
    assert data["plain"].startswith(talker.tokenizer.target.decode(plain)[:5])
    for each in data["continued"]:
        assert np.isfinite(patched.maps[each["part"]].effect[0, each["row"], each["column"]])


def test_table_lists_the_strongest_activations(talker, patched):
    table = patching_table(talker, patched, 6)
    assert CLEAN in table
    effects = [float(line.split()[-1]) for line in table.splitlines()[-6:]]
    assert sorted(map(abs, effects), reverse=True) == [abs(x) for x in effects]
