import numpy as np
import pytest
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.insight.variants.greedy import GreedyVariants, draft_pass, first_change
from allyouneed.insight.variants.switches import Switches, all_heads, searchable, single_switches
from allyouneed.insight.variants.variant import TokenPair, run_pair
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import greedy
from tests.insight.conftest import random_translator

MAX_LENGTH = 14


def off(*heads):
    return Switches(off=frozenset(heads))


@torch.inference_mode()
def translations(translator, source, draft, variants, shared=True):
    """Translate with each variant, one batch for each first changed layer."""
    pair = TokenPair(source, draft)
    base = run_pair(translator, pair, Switches(), stages=True).recorded if shared else None
    source_ids = pad([source if variants[0].padding_mask else [*source, PAD, PAD]])
    groups: dict = {}
    for each in variants:
        groups.setdefault(first_change(each), []).append(each)
    passes = [draft_pass(translator.model, source_ids, pad([[BOS, *draft]]), group, base) for group in groups.values()]
    order = [each for group in groups.values() for each in group]
    found = GreedyVariants(translator.model, source_ids, draft, MAX_LENGTH).translate(order, passes)
    return dict(zip(order, found, strict=True))


def reference(model, source_ids, variant):
    [found] = greedy(searchable(model, [variant]), source_ids, [MAX_LENGTH])
    return found


def own_translation(model, source):
    return list(greedy(searchable(model, [Switches()]), pad([source]), [MAX_LENGTH])[0].ids)


SETTINGS = [{}, {"norm": "pre"}, {"positions": "learned", "max_positions": 300}, {"d_k": 8, "d_v": 4, "num_heads": 3}]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("draft", ["own", "other", "empty", "too long", "almost own"])
def test_translations_equal_greedy_search(settings, draft):
    translator = random_translator(2, settings.get("num_heads", 2), 24, **settings)
    source = [*translator.tokenizer.encode("a red cat runs"), EOS]
    own = own_translation(translator.model, source)
    ids = {"own": own, "other": [40, 41, 42], "empty": [], "too long": own + [50] * 20, "almost own": [*own[:-2], 60]}
    variants = [each for each in single_switches(translator.model) if each.off]
    pairs = [off(*pair) for pair in zip(all_heads(translator.model), all_heads(translator.model)[3:], strict=False)]
    found = translations(translator, source, ids[draft], [Switches(), *variants, *pairs])
    assert len({tuple(each.ids) for each in found.values()}) > 3  # heads matter in this model
    for variant, translation in found.items():
        expected = reference(translator.model, pad([source]), variant)
        assert translation.ids == expected.ids, variant.key
        np.testing.assert_allclose(translation.log_p, expected.token_log_p, atol=2e-4)


@pytest.mark.parametrize("each", [Switches(future_mask=False), Switches(padding_mask=False), Switches(positions=False)])
def test_flags_with_heads_off(small, each):
    source = [*small.tokenizer.encode("two cats"), EOS]
    variants = [each, *(Switches(**{**vars(each), "off": frozenset({head})}) for head in all_heads(small.model)[::3])]
    ids = pad([source if each.padding_mask else [*source, PAD, PAD]])
    for variant, translation in translations(small, source, own_translation(small.model, source), variants).items():
        expected = reference(small.model, ids, variant)
        assert translation.ids == expected.ids
        np.testing.assert_allclose(translation.log_p, expected.token_log_p, atol=2e-4)


def test_nothing_is_decoded_if_no_choice_changes(small, monkeypatch):
    source = [*small.tokenizer.encode("a dog"), EOS]
    own = own_translation(small.model, source)

    def refuse(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr(Transformer, "decode_step", refuse)
    [found] = translations(small, source, own, [Switches()]).values()
    assert found.ids == own


def test_the_pass_equals_a_complete_one(small):
    """Layers below the first change are taken from the recording of the unchanged model."""
    source, draft = [*small.tokenizer.encode("a dog"), EOS], [40, 41, 42, 43]
    base = run_pair(small, TokenPair(source, draft), Switches(), stages=True).recorded
    ids = pad([source]), pad([[BOS, *draft]])
    for group in ([("encoder", 1, 0)], [("decoder", 1, 1)], [("cross", 0, 0)], [("cross", 1, 0), ("encoder", 1, 1)]):
        with torch.inference_mode():
            shared, whole = (draft_pass(small.model, *ids, [off(*group)], kept) for kept in (base, None))
        torch.testing.assert_close(shared.log_p, whole.log_p, atol=1e-5, rtol=1e-5)
        assert shared.recorded.sites.keys() == whole.recorded.sites.keys()
        for site, tensors in whole.recorded.sites.items():
            for name, tensor in tensors.items():
                torch.testing.assert_close(shared.recorded.sites[site][name], tensor, atol=1e-5, rtol=1e-5)
