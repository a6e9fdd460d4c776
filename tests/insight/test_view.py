import json
import re

import numpy as np
import pytest
import torch

import allyouneed
from allyouneed import UserError
from allyouneed.insight.tokens import mark_words, word_ranges
from allyouneed.insight.variants.variant import entropies
from tests.insight.conftest import Page

SOURCE, TARGET = ["[CLS]", "my", "cat", "##s", "purr", "[SEP]"], ["<s>", "mes", "chats", "ron@@", "ronnent"]


def weights(*shape, seed=0, causal=False):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (x.masked_fill(torch.ones(shape[-2:]).triu(1) > 0, -torch.inf) if causal else x).softmax(-1)


def encoder_decoder():
    return {
        "encoder": [weights(2, 4, 6, 6, seed=i) for i in range(3)],
        "decoder": [weights(2, 3, 5, 5, seed=i, causal=True) for i in range(2)],
        "cross": [weights(2, 3, 5, 6, seed=i) for i in range(2)],
    }


def test_forms_of_arrays():
    layers = [weights(2, 4, 6, 6, seed=i) for i in range(3)]
    expected = torch.stack(layers)[:, 1].numpy()
    for given in (
        layers,
        tuple(layers),
        [x.requires_grad_() * 1 for x in layers],
        [x.detach().numpy() for x in layers],
        [x[1] for x in layers],
        torch.stack(layers),
        torch.stack(layers)[:, 1],
        expected,
        torch.stack(layers).double(),
    ):
        shown = allyouneed.view(encoder=given, batch=1)
        np.testing.assert_array_equal(shown.encoder, expected)
        assert shown.decoder is shown.cross is None
        assert shown.encoder.dtype == np.float32
    for dtype in (torch.bfloat16, torch.float16):
        shown = allyouneed.view(encoder=[x.to(dtype) for x in layers], batch=1)
        np.testing.assert_allclose(shown.encoder, expected, atol=4e-3)


def test_generated_tokens_are_joined():
    """`generate` gives the first step with all keys of the prompt, and each later one with one key more."""
    whole = weights(2, 1, 3, 7, 7, causal=True)  # [layer, batch, head, query, key]
    steps = [[whole[layer][:, :, :4, :4] for layer in range(2)]]
    steps += [[whole[layer][:, :, n : n + 1, : n + 1] for layer in range(2)] for n in range(4, 7)]
    np.testing.assert_array_equal(allyouneed.view(decoder=steps).decoder, whole[:, 0].numpy())
    without_cache = [[whole[layer][:, :, :n, :n] for layer in range(2)] for n in range(1, 8)]
    np.testing.assert_array_equal(allyouneed.view(decoder=without_cache).decoder, whole[:, 0].numpy())
    with pytest.raises(UserError, match="different number of layers or heads"):
        allyouneed.view(decoder=[steps[0], steps[1][:1]])


def test_attention_of_beam_search_is_refused():
    beams = [[torch.cat([weights(1, 3, 1, n)] * 4) for _ in range(2)] for n in range(1, 4)]
    with pytest.raises(UserError, match=r"batch: 1 of encoder, 4 of decoder\. After beam search"):
        allyouneed.view(encoder=[weights(1, 3, 5, 5)], decoder=beams)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give encoder=, decoder= or cross="),
        ({"encoder": []}, 'encoder is empty.*attn_implementation="eager"'),
        ({"decoder": ((), ())}, "decoder is empty"),
        ({"encoder": [None]}, 'layer 1 is None.*attn_implementation="eager"'),
        ({"encoder": "weights"}, "encoder is not an array of numbers but str"),
        ({"encoder": weights(6, 6)}, r"encoder has the shape \[6, 6\]"),
        ({"encoder": [weights(6, 6)]}, r"layer 1 has the shape \[6, 6\].*averaged over heads"),
        ({"encoder": [weights(2, 6, 6), weights(3, 6, 6)]}, "layers of different shapes"),
        ({"encoder": weights(1, 2, 0, 6)}, "nothing to show"),
        ({"encoder": weights(1, 1, 1, 1200)}, "1200 positions, the limit is 1024"),
        ({"encoder": [weights(2, 3, 6, 6)], "batch": 2}, "a batch of 2: batch must be from 0 to 1, not 2"),
        ({"encoder": [weights(2, 3, 6, 6)], "batch": "1"}, "index of a sentence in the batch, not str"),
        ({"encoder": [torch.full((1, 2, 3, 3), torch.nan)]}, "contains NaN"),
        ({"encoder": weights(1, 2, 3, 3).to_sparse()}, "not an array of numbers but Tensor"),
        ({"encoder": torch.empty(1, 2, 3, 3, device="meta")}, "not an array of numbers but Tensor"),
        ({"encoder": [torch.randn(1, 2, 6, 6)]}, "after the softmax"),
        ({"encoder": [torch.nn.functional.dropout(weights(1, 2, 6, 6), 0.3)]}, "eval"),
        ({"encoder": [weights(1, 2, 6, 6)[..., :4]]}, "instead of 1|disagree"),
        ({"encoder": [weights(1, 2, 6, 6)], "cross": [weights(1, 2, 5, 7)]}, "length of the source: .*7 keys of cross"),
        ({"decoder": [weights(1, 2, 6, 6)], "cross": [weights(1, 2, 5, 7)]}, "length of the target"),
        ({"decoder": [weights(1, 2, 5, 6)]}, "length of the target: 5 queries of decoder, 6 keys"),
        ({"encoder": [weights(1, 2, 6, 6)], "source_tokens": ["a"]}, "has 1 tokens, the arrays have 6"),
        ({"encoder": [weights(1, 2, 6, 6)], "source_tokens": "abcdef"}, "must be a list of strings"),
        ({"encoder": [weights(1, 2, 6, 6)], "source_tokens": [5] * 6}, "must be a list of strings"),
        ({"encoder": [weights(1, 2, 6, 6)], "source_tokens": 6}, "must be a list of strings"),
        ({"decoder": [weights(1, 2, 6, 6)], "source_tokens": ["a"] * 6}, "source_tokens needs encoder= or cross="),
        ({"encoder": [weights(1, 2, 6, 6)], "target_tokens": ["a"] * 6}, "target_tokens needs decoder= or cross="),
    ],
)
def test_what_cannot_be_shown(given, message):
    with pytest.raises(UserError, match=message):
        allyouneed.view(**given)


def test_arrays_as_lists_of_numbers():
    """As `json.loads` returns what `look --json` prints."""
    array = weights(2, 3, 4, 4)
    np.testing.assert_array_equal(allyouneed.view(encoder=array.tolist()).encoder, array)
    np.testing.assert_array_equal(allyouneed.view(encoder=[x.tolist() for x in array[:, None]], batch=0).encoder, array)


def test_a_fully_masked_row_is_allowed():
    array = weights(1, 2, 6, 6).numpy().copy()
    array[:, :, 2] = 0
    assert allyouneed.view(encoder=array).encoder[0, 0, 2].sum() == 0


def test_statistics():
    shown = allyouneed.view(**encoder_decoder())
    found = shown.statistics()
    assert {kind: set(each) for kind, each in found.items()} == {
        "encoder": {"entropy", "largest", "distance", "previous", "same", "next"},
        "decoder": {"entropy", "largest", "distance", "previous", "same", "next"},
        "cross": {"entropy", "largest"},  # positions of two texts cannot be compared
    }
    np.testing.assert_allclose(found["cross"]["entropy"], entropies(shown.cross))
    head = shown.decoder[1, 2]
    assert found["decoder"]["same"][1, 2] == pytest.approx(np.trace(head) / 5)
    assert found["decoder"]["previous"][1, 2] == pytest.approx(np.trace(head, offset=-1) / 5)
    assert not found["decoder"]["next"].any()
    distance = sum(head[i, j] * abs(i - j) for i in range(5) for j in range(5)) / 5
    assert found["decoder"]["distance"][1, 2] == pytest.approx(distance)


def test_words_of_other_tokenizers():
    assert mark_words(SOURCE) == ["▁[CLS]", "▁my", "▁cat", "s", "▁purr", "▁[SEP]"]
    assert mark_words(TARGET) == ["<s>", "▁mes", "▁chats", "▁ron", "ronnent"]
    assert mark_words(["<s>", "The", "Ġcat", "s"]) == ["<s>", "▁The", "▁cat", "s"]
    assert mark_words(["▁The", "s"]) == ["▁The", "s"]
    assert mark_words([]) == []
    assert [first for first, *_ in word_ranges(mark_words(SOURCE))] == [0, 1, 2, 4, 5]


def test_a_large_page_is_below_2_mb(tmp_path):
    shown = allyouneed.view(encoder=weights(12, 12, 128, 128), cross=weights(12, 12, 64, 128))
    assert shown.save(tmp_path / "page.html").stat().st_size < 2_000_000
    assert shown.data()["base"]["attention"]["encoder"]["top"] == 8
    assert shown._repr_html_().startswith("<iframe")


def test_the_page_shows_the_given_heads(browser, tmp_path):
    hostile = ["<script>alert(1)</script>", *SOURCE[1:]]
    arrays = encoder_decoder()
    path = allyouneed.view(**arrays, source_tokens=hostile, target_tokens=TARGET, batch=1).save(tmp_path / "all.html")
    with Page(browser, path) as opened:
        page = opened.page
        assert [tab.inner_text() for tab in page.query_selector_all("[role=tab]")] == ["Heads"]
        assert opened.text(".facts").startswith("Encoder self: layers 3, heads 4 · Decoder self: layers 2, heads 3")
        assert len(page.query_selector_all("[data-head]")) == 12
        page.click("[data-kind=cross]")
        assert len(page.query_selector_all("[data-head]")) == 6
        page.click("[data-head='cross.1.2']")
        page.click("[data-view=matrix]")
        shown = page.eval_on_selector_all("svg rect[data-weight]", "all => all.map((x) => +x.dataset.weight)")
        np.testing.assert_allclose(shown, arrays["cross"][1][1, 2].flatten(), atol=1e-4)
        page.click("#join")
        shown = page.eval_on_selector_all("svg rect[data-weight]", "all => all.map((x) => +x.dataset.weight)")
        assert len(shown) == 4 * 5
        page.click("#language")
        assert "층 3개" in opened.text(".facts")
        assert not opened.problems
    for kind, one in (("encoder", weights(1, 12, 3, 3)), ("decoder", weights(1, 2, 3, 3, causal=True))):
        with Page(browser, allyouneed.view(**{kind: one}).save(tmp_path / f"{kind}.html")) as opened:
            assert [x.get_attribute("data-kind") for x in opened.page.query_selector_all("[data-kind]")] == [kind]
            assert len(opened.page.query_selector_all("[data-head]")) == one.shape[1]
            assert opened.text("header p") == "#0 #1 #2"
            assert not opened.problems


def test_only_causal_attention_predicts_the_next_token():
    causal = allyouneed.view(decoder=weights(1, 2, 3, 3, causal=True)).data()
    assert causal["target"]["predicts"]
    assert not allyouneed.view(decoder=weights(1, 2, 3, 3)).data()["target"]["predicts"]
    json.dumps(causal, allow_nan=False)
    assert not re.search("NaN", json.dumps(causal))
