"""The Python interface: translations, alternatives, attention, and rejected input."""

import copy
import math
import pickle
import shutil

import numpy as np
import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed.bundle import load_bundle
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.scoring import score_pairs
from tests.compat import IMPORTED
from tests.conftest import toy_pairs


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def test_a_model_whose_scores_are_not_finite_is_refused(toy_run):
    bundle = load_bundle(toy_run)
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.mul_(1e30)
    with pytest.raises(UserError, match="the model finds no translation, since its scores are not finite"):
        Translator(bundle).translate(["a b c"], beam_size=4)


def test_one_translation_per_text_and_none_for_empty_text(translator):
    texts = ["a b c", "", "h g", "   ", "a"]
    translations = translator.translate(texts)
    assert [t.source for t in translations] == texts
    assert [len(t.hypotheses) for t in translations] == [1, 0, 1, 0, 1]
    assert [translations[1].text, translations[3].text] == ["", ""]


def test_results_do_not_depend_on_order_or_batches(translator):
    texts = ["a b c d e", "h", "c d", "e f g h a b", "b a"]
    together = [t.text for t in translator.translate(texts)]
    assert [translator.translate([text])[0].text for text in texts] == together
    assert [t.text for t in translator.translate(texts, batch_tokens=1)] == together


def test_hypotheses_are_sorted(translator):
    [translation] = translator.translate(["a b c d"], beam_size=4, num_hypotheses=3)
    scores = [score for _, score in translation.hypotheses]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert translation.hypotheses[0] == (translation.text, translation.score)


def test_each_token_has_its_log_probability(translator):
    for beam_size in (1, 4):
        [translation] = translator.translate(["a b c d"], beam_size=beam_size, length_penalty=0.0)
        [scored] = score_pairs(translator, ["a b c d"], [translation.text])
        assert scored.tokens[:-1] == translation.tokens
        assert translation.log_probs == pytest.approx(scored.log_probs[:-1], abs=1e-4)
        assert sum(translation.log_probs) + scored.log_probs[-1] == pytest.approx(translation.score, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_alternatives_differ_in_the_next_token(translator, beam_size):
    [translation] = translator.translate(["a b c d"], beam_size=1)
    first, *others = translator.alternatives("a b c d", num_hypotheses=4, beam_size=beam_size)
    assert len({first.token, *(other.token for other in others)}) == 4
    assert first.token == translation.tokens[0]
    assert first.log_probability == pytest.approx(translation.log_probs[0], abs=1e-4)
    probabilities = [math.exp(one.log_probability) for one in (first, *others)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1 + 1e-5
    for one in (first, *others):
        assert one.text.startswith(one.token.replace("▁", "").replace("</s>", ""))
    if beam_size == 1:
        assert first.text == translation.text
    prefix = " ".join(translation.text.split()[:2])
    for one in translator.alternatives("a b c d", prefix, 3, beam_size):
        assert one.text.startswith(prefix)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_prefix_and_minimum_length_take_precedence_over_the_maximum(translator, beam_size):
    [translation] = translator.translate(["a b"], beam_size=beam_size, max_extra_length=0, min_decoding_length=12)
    assert len(translation.tokens) >= 12
    prefix = "h g f e d c b a h g f e"
    [translation] = translator.translate(["a b"], beam_size=beam_size, max_extra_length=0, target_prefix=[prefix])
    assert translation.text.startswith(prefix)


def test_invalid_numbers_are_refused(translator):
    for options in (
        {"max_decoding_length": 0},
        {"min_decoding_length": 10, "max_decoding_length": 5},
        {"repetition_penalty": float("nan")},
        {"min_decoding_length": -1},
        {"no_repeat_ngram_size": -1},
        {"diversity_penalty": -0.5},
        {"coverage_penalty": float("inf")},
    ):
        with pytest.raises(UserError, match=next(iter(options))):
            translator.translate(["a"], **options)
    for count in (0, len(translator.tokenizer)):
        with pytest.raises(UserError, match="num_hypotheses"):
            translator.alternatives("a b", num_hypotheses=count)
    assert len(translator.alternatives("a b", num_hypotheses=np.int64(2))) == 2


def test_alternatives_need_one_text_that_fits(translator):
    for text in ("", "a b c d e f. " * 40):
        with pytest.raises(UserError, match="alternatives"):
            translator.alternatives(text)


def test_a_long_text_is_split_without_loss(translator):
    sentence = "a b c d e f."
    long = " ".join([sentence] * 12)
    [translation] = translator.translate([long])
    assert translation.pieces > 1
    assert rejoin(translator, long) == long


@pytest.mark.parametrize(
    "long",
    [
        "abcdefgh" * 40,
        "짧은 문장. " * 40 + "끝",
        "这是一句话。" * 40,
        "a b. " * 30 + "abcdefgh" * 40 + " 这。 " + "c d! " * 30,
        "one   two\tthree. " * 30,
    ],
)
def test_splitting_loses_and_adds_nothing(translator, long):
    joined = rejoin(translator, long)
    assert joined.split() == long.split()


def rejoin(translator, text):
    """Split a text and join its parts."""
    [parts] = translator.splitter.split([text])
    assert len(parts) > 1
    assert all(len(part.ids) <= translator.longest_source for part in parts)
    return "".join(translator.tokenizer.decode(part.ids) + part.separator for part in parts)


def test_a_translation_is_one_line(translator):
    newline = translator.tokenizer.encode("a\nb")
    assert translator.tokenizer.decode(newline) == "a b"


def test_a_missing_device_is_refused(toy_run):
    for device in ("tpu", "cuda"):
        if device == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(UserError, match=f"device {device}"):
            Translator.load(toy_run, device)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"beam_size": 0}, "beam_size = 0"), ({"beam_size": 2, "num_hypotheses": 3}, "choose 1 to beam_size = 2")],
)
def test_invalid_beam_sizes_are_refused(translator, options, message):
    with pytest.raises(UserError, match=message):
        translator.translate(["a"], **options)


def test_int8_is_nearly_as_accurate(translator, toy_run, vnni):
    texts = [source for source, _ in toy_pairs(50, seed=5)]
    quantized = Translator.load(toy_run, compute_type="int8")
    for beam_size in (1, 4):
        ours, near = (one.translate(texts, beam_size=beam_size) for one in (translator, quantized))
        same = [(a.score, b.score) for a, b in zip(ours, near, strict=True) if a.text == b.text]
        assert len(same) > 40
        exact, rounded = np.array(same).T
        assert rounded == pytest.approx(exact, rel=0.05)
        assert rounded.mean() == pytest.approx(exact.mean(), rel=0.02)
        assert [one.text for one in near] == [
            quantized.translate([text], beam_size=beam_size)[0].text for text in texts
        ]


def test_its_repr_describes_the_model(translator):
    described = translator.bundle.described()
    assert repr(translator) == f"Translator(aa → bb, {described}, float32 on cpu)"


def test_an_unknown_compute_type_is_refused(toy_run):
    with pytest.raises(UserError, match="float32 or int8"):
        Translator.load(toy_run, compute_type="int4")


@pytest.mark.parametrize("device", [None, 0, "gpu"])
def test_an_unknown_device_is_refused(toy_run, translator, device):
    with pytest.raises(UserError, match=rf"^device {device}: choose cpu, cuda or auto\.$"):
        Translator.load(toy_run, device=device)
    with pytest.raises(UserError, match=rf"^device {device}: choose cpu, cuda or auto\.$"):
        Translator(translator.bundle, device=device)


def test_inter_threads_are_checked(translator):
    assert Translator(translator.bundle, inter_threads=np.int64(2)).inter_threads == 2
    for number in (0, -1):
        with pytest.raises(UserError, match=f"^inter_threads = {number}: choose at least 1"):
            Translator(translator.bundle, inter_threads=number)
    for value in ("2", 2.0, True):
        with pytest.raises(TypeError, match="inter_threads is not an integer"):
            Translator(translator.bundle, inter_threads=value)


def test_a_string_gives_one_translation(translator):
    [expected] = translator.translate(["a b"])
    assert translator.translate("a b") == expected
    assert translator.translate("a b", SearchOptions(beam_size=1)).text == translator.translate("a b", beam_size=1).text
    forced = translator.translate("a b", target_prefix="h", force_words=["g f"])
    assert forced == translator.translate(["a b"], target_prefix=["h"], force_words=[["g f"]])[0]
    assert forced.text.startswith("h")
    assert "g f" in forced.text
    assert translator.translate("a b", target_prefix="h", force_words="g f") == forced


def test_one_prefix_and_forced_words_for_all_texts(translator):
    texts, several = ["a b", "c d"], {"target_prefix": ["h", "h"], "force_words": [["g"], ["g"]]}
    assert translator.translate(texts, target_prefix="h", force_words=["g"]) == translator.translate(texts, **several)


def test_overrides_take_precedence_over_options(translator):
    options = SearchOptions(beam_size=3, num_hypotheses=2)
    assert len(translator.translate("a b c", options, num_hypotheses=3).hypotheses) == 3
    assert options.num_hypotheses == 2


def test_unknown_options_are_type_errors(translator):
    with pytest.raises(TypeError, match="unknown search option 'beam'"):
        translator.translate("a", beam=3)
    with pytest.raises(TypeError, match="by name"):
        translator.translate("a", 4)


@pytest.mark.parametrize("texts", [None, 3, b"a b", [b"a b"], [None], [["a b"]], (text for text in ["a b"])])
def test_texts_that_are_not_strings_are_type_errors(translator, texts):
    with pytest.raises(TypeError, match="texts"):
        translator.translate(texts)


def test_unpaired_surrogates_are_refused(translator):
    for texts, inputs in [("a \ud800", {}), ("a", {"target_prefix": "\ud800"}), ("a", {"force_words": ["\ud800"]})]:
        with pytest.raises(UserError, match="unpaired surrogate"):
            translator.translate(texts, **inputs)


def test_translators_and_translations_can_be_copied(translator):
    translation = translator.translate("a b c")
    assert pickle.loads(pickle.dumps(translation)).alignment == translation.alignment
    for copied in (pickle.loads(pickle.dumps(translator)), copy.deepcopy(translator)):
        assert copied.translate("a b c") == translation


def test_sampling_from_almost_nothing_is_greedy(translator):
    [greedy] = translator.translate(["a b c"], beam_size=1)
    for options in ({"sampling_topp": 1e-300}, {"sampling_temperature": 1e-6}):
        [sampled] = translator.translate(["a b c"], **options)
        assert sampled.text == greedy.text
        assert math.isfinite(sampled.score)


def test_look_returns_every_head(translator):
    attention = translator.look("a b c")
    assert sum(kind.size for kind in (attention.encoder, attention.decoder, attention.cross)) == (
        translator.bundle.config.model.count_attention(*attention.cross.shape[:1:-1])
    )
    with pytest.raises(UserError, match=r"too long: their attention has [\d,]+ weights"):
        translator.look("a", "a " * 10_000)
    with pytest.raises(UserError, match=r"too long: their attention has [\d,]+ weights"):
        translator.align("a", "a " * 50_000)
    layers, heads = 1, 2
    source, target = len(attention.source_tokens), len(attention.target_tokens)
    assert attention.encoder.shape == (layers, heads, source, source)
    assert attention.decoder.shape == (layers, heads, target, target)
    assert attention.cross.shape == (layers, heads, target, source)
    np.testing.assert_allclose(attention.cross.sum(-1), 1, rtol=1e-5)
    assert attention.source_tokens[-1] == attention.target_tokens[-1] == "</s>"
    assert attention.target_inputs == ["<s>", *attention.target_tokens[:-1]]


def test_alignment_links_words(translator):
    [translation] = translator.translate(["a b c d"])
    words = len(translation.text.split())
    assert {j for _, j in translation.alignment} == set(range(words))
    assert all(0 <= i < 4 for i, _ in translation.alignment)
    assert translator.translate([""])[0].alignment == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_bundle_is_refused(toy_run, tmp_path, name, damage):
    shutil.copytree(toy_run / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content[:-9] + b"?" + content[-8:])
    with pytest.raises(UserError) as caught:
        Translator.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Translator.load(tmp_path / "missing")
    with pytest.raises(UserError, match="neither a RUN nor a bundle"):
        Translator.load(tmp_path)


def test_every_part_of_a_long_text_begins_with_the_language_code():
    translator = Translator.load(IMPORTED)
    [parts] = translator.splitter.split([">>fr<< " + "a b c d. " * 40])
    [code] = translator.tokenizer.encode(">>fr<<")
    assert len(parts) > 1
    assert all(part.ids[0] == code and len(part.ids) <= translator.longest_source for part in parts)
    assert sum(part.ids.count(code) for part in parts) == len(parts)


def test_a_long_word_is_cut_with_few_encodings(translator, monkeypatch):
    """The number of characters that are encoded is linear in the length of the word."""
    encoded: list[int] = []
    encode = type(translator.tokenizer).encode
    monkeypatch.setattr(
        type(translator.tokenizer), "encode", lambda self, text: encoded.append(len(text)) or encode(self, text)
    )
    totals = []
    for length in (20_000, 40_000):
        encoded.clear()
        parts = translator.splitter.cut("a" * length)
        assert "".join(part for part, _ in parts) == "a" * length
        totals.append(sum(encoded))
    assert totals[1] < 2.2 * totals[0]
    assert totals[1] < 60 * 40_000
