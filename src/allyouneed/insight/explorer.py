"""Data of the explorer for one sentence: a JSON object that a page contains or a server sends.

format          1
text            the source; `translation` the target; `languages` [source, target] codes or null
model           encoder_layers, decoder_layers, heads, d_model, d_k, d_v, decoder_heads, decoder_d_k, decoder_d_v, norm,
                final_norm (whether the decoder's output is normalised), scaled (whether embeddings are multiplied by
                √d_model), embedding_norm, positions, frequencies and first_position of sinusoids, activation, bias
                (whether the projections of attention have one), feed_forward_bias, parameters, vocabulary,
                deciding_layer (the decoder layer whose attention gives the word alignment)
source, target  text (NFC), tokens (with </s>), words: [first token, last token, begin, end character], ends excluded;
                target.inputs: tokens that the decoder receives, from <s> on
base            the variant of the unchanged model
variants        {key: variant}, the variants stored in a page; a server computes others for `fetchVariant(switches)`
variant         key, switches, source_tokens (null: those of the source), entropy and change [head] (ordered by kind,
                layer, head; in nats, and the share of attention that is redistributed), jacobian
                (`variant.mean_jacobian`; null like entropy if brief), unmasked (the mean share of attention on the keys
                that a mask would hide, if just this mask is off; else null), predictions {given, top, log_p} or null,
                translation {text, score, cut} or null, attention {encoder, decoder, cross} as `coding.pack_weights`, if
                stored. The translation is found by greedy search (`greedy.py`), that of `base` too, so that variants
                can be compared with it; cut: it has the maximum length
stages          {encoder: [layer], decoder, cross} or null. A layer: queries, keys, values, heads, scores
                [head, row, column]; x, output, residual, result, and memory for cross [row, column]; each as
                `coding.pack_matrices`
links           [source word, target word, weight]: the word alignment from attention (`alignment.align`)
lens            what each layer would predict, see `lens.py`; null for long sentences
inside          positions, embeddings, feed-forward units and residual stream, see `inside.py`; null for long sentences
comparison      absent, or two models side by side, see `comparison.py`
patching        absent, or the patching between two sentences, see `patching_data.py`
effects         effects of the switches over a set of sentences, see `effects.py`; null without a text
search          null, or beam_size, alpha, offset, nodes [parent, step, token, log_p, status], ended: indices of the
                last nodes of the hypotheses, best first
twins           models trained with and without parts of attention: the object that `twins.py` describes
attribution     why the model prefers one token over another, see `questions.py`; null for long sentences
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import EOS, to_nfc
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.attribution.questions import BUDGET, SERVED_BUDGET, attribution_data
from allyouneed.insight.coding import ArraySizes, Precision, choose_precision, pack_matrices, pack_weights
from allyouneed.insight.layers.inside import inside_data
from allyouneed.insight.layers.lens import lens_data
from allyouneed.insight.page import PAGE_BYTES, html
from allyouneed.insight.tree import Node, hypothesis_nodes, path_of, traced_search
from allyouneed.insight.twins import load_twins
from allyouneed.insight.variants.effects import EffectText, effects_data
from allyouneed.insight.variants.switches import Switches, searchable, single_switches
from allyouneed.insight.variants.variant import (
    MAX_SEARCH_LENGTH,
    PADDING,
    PairResult,
    TokenPair,
    max_translation_length,
    run_pair,
    variant_data,
    variants_data,
    weights_of,
)
from allyouneed.insight.words import Word, links_of, words_of
from allyouneed.model.probe import KINDS, AttentionRecorder
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.search import LengthPenalty
from allyouneed.translation.translator import Translator

FORMAT = 1
MAX_TOKENS = 520  # per side, including </s>
_LIVE_BYTES = 1_200_000  # of the arrays of a variant that a server sends
_NODES_PER_STEP = 12  # best candidates of a step that are kept besides the paths of hypotheses


def explorer_data(
    translator: Translator,
    text: str,
    switches: Iterable[Switches] | None = None,
    translation: str | None = None,
    examples: Sequence[TokenPair] = (),
    effect_text: EffectText | None = None,
    twins: Path | None = None,
    served: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Compute the data of the explorer for one sentence.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        switches: Variants to include; None for all variants with one change.
        translation: Translation to examine; None for the model's own.
        examples: Validation pairs, for figures over many sentences, see `states.validation_pairs`.
        effect_text: Text on which the switches are measured too; None to leave that out.
        twins: Folder of the results of `allyouneed paper questions`; None for those in the package.
        served: The page can ask a server for attributions, so few are computed beforehand.
        on_progress: Called with the number of finished variants and their total.

    Returns:
        The JSON object described above.

    Raises:
        UserError: If the text is empty, a side is too long, or the folder has no ablations.
    """
    ablations = load_twins(twins)
    pair, nodes = _token_pair(translator, text, translation)
    variants = single_switches(translator.model) if switches is None else list(switches)
    if len(pair.source) > MAX_SEARCH_LENGTH:
        variants = [each for each in variants if not each.off]
    base = run_pair(translator, pair, Switches(), stages=True)
    computed = {}
    for variant in variants_data(translator, pair, variants, None, base):
        computed[variant["key"]] = variant
        on_progress(len(computed), len(variants))
    languages, target_tokenizer = translator.bundle.languages, translator.tokenizer.target
    source = side_data(translator.tokenizer, to_nfc(text.strip()), languages[0])
    target = side_data(target_tokenizer, target_tokenizer.decode(pair.target), languages[1], pair.target)
    data = {
        "format": FORMAT,
        "text": source["text"],
        "translation": target["text"],
        "languages": list(languages),
        "model": model_facts(translator.model),
        "source": source,
        "target": {**target, "inputs": ["<s>", *target["tokens"][:-1]]},
        "base": variant_data(translator, pair, Switches(), None, base),
        "variants": computed,
        "stages": None,
        "effects": effects_data(translator, effect_text) if effect_text else None,
        "links": _links(base, source["words"], target["words"]),
        "lens": lens_data(translator, pair, examples),
        "inside": inside_data(translator, pair, examples),
        "search": _search_data(translator, nodes) if nodes else None,
        "twins": ablations,
        "attribution": attribution_data(translator, pair, base, nodes, SERVED_BUDGET if served else BUDGET),
    }
    pack_arrays(data, base.recorded)
    return data


def pack_arrays(data: dict[str, Any], recorded: AttentionRecorder) -> None:
    """Pack the arrays of a page as precisely as its other parts allow.

    Args:
        data: Data of the page. The attention of the variants in it is packed, or removed if there is no room for it;
            attention of the unchanged model and stages are added.
        recorded: Recording of the unchanged model.
    """
    variants = {key: each.pop("attention") for key, each in data["variants"].items() if "attention" in each}
    data["base"].pop("attention", None)
    room = PAGE_BYTES - len(html(data))
    precision = choose_precision(array_sizes(recorded), len(variants), room)
    data["base"]["attention"] = packed_attention(recorded, precision)
    data["stages"] = packed_stages(recorded, precision)
    for key, weights in variants.items() if precision.variants else ():
        data["variants"][key]["attention"] = {kind: pack_weights(x, precision.variants) for kind, x in weights.items()}


def live_variant(translator: Translator, text: str, translation: str, switches: Switches) -> dict[str, Any]:
    """Compute a variant that an open page requests by `fetchVariant`.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Its translation.
        switches: Switches of the variant.

    Returns:
        A variant as described above.

    Raises:
        UserError: If the text is empty, or a side is too long.
    """
    pair, _ = _token_pair(translator, text, translation)
    base = run_pair(translator, pair, Switches())
    precision = choose_precision(array_sizes(base.recorded), 1, _LIVE_BYTES)
    return variant_data(translator, pair, switches, precision, base)


def model_facts(model: Transformer) -> dict[str, Any]:
    """Return the entry `model` described above."""
    config = model.config
    return {
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "heads": config.encoder.heads,
        "d_model": config.d_model,
        "d_k": config.encoder.d_k,
        "d_v": config.encoder.d_v,
        "decoder_heads": config.decoder.heads,
        "decoder_d_k": config.decoder.d_k,
        "decoder_d_v": config.decoder.d_v,
        "norm": config.norm,
        "final_norm": config.has_final_norm("decoder"),
        "scaled": config.scale_embeddings,
        "embedding_norm": config.embedding_norm,
        "positions": config.positions,
        "frequencies": config.sinusoid_frequencies,
        "first_position": config.first_position,
        "activation": config.activation,
        "bias": config.attention_bias,
        "feed_forward_bias": config.feed_forward_bias,
        "parameters": model.num_parameters(),
        "vocabulary": model.vocab_size,
        "deciding_layer": deciding_layer(config.decoder_layers),
    }


def packed_stages(recorded: AttentionRecorder, precision: Precision) -> dict[str, Any] | None:
    """Pack the stages of the first sentence of the batch.

    Redundant arrays are left out: memory and residual where they equal x, concat (the concatenated heads), and weights
    (which follow from the scores).
    """
    if not precision.stages:
        return None
    packed: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        packed[kind] = []
        for arrays in recorded.arrays(kind, 0):
            names = ["x", "output", "result", "queries", "keys", "values", "heads"]
            names += ["memory"] if kind == "cross" else []
            names += [] if np.array_equal(arrays["residual"], arrays["x"]) else ["residual"]
            layer = {name: pack_matrices(arrays[name], precision.stages, precision.columns) for name in names}
            packed[kind].append({**layer, "scores": pack_matrices(arrays["scores"], 16)})
    return packed


def packed_attention(recorded: AttentionRecorder, precision: Precision) -> dict[str, Any]:
    """Pack the weights of the first sentence of the batch, for each of `KINDS`."""
    return {kind: pack_weights(x, precision.weights, precision.top) for kind, x in weights_of(recorded).items()}


def array_sizes(recorded: AttentionRecorder) -> ArraySizes:
    """Count the values to pack for one sentence."""
    weights = [x for kind in KINDS for x in recorded.weights(kind)]
    vectors = []
    for kind in KINDS:
        for tensors in recorded.layers(kind) if recorded.stages else []:
            for name in ("queries", "keys", "values", "heads"):
                _, heads, rows, width = tensors[name].shape
                vectors.append((heads * rows, width))
            for name in ("x", "output", "residual", "result", *(["memory"] if kind == "cross" else [])):
                _, rows, width = tensors[name].shape
                vectors.append((rows, width))
    return ArraySizes(sum(x[0].numel() for x in weights), sum(x[0, :, :, 0].numel() for x in weights), vectors)


def _token_pair(translator: Translator, text: str, translation: str | None) -> tuple[TokenPair, list[Node]]:
    """Return the token ids of the pair, and the nodes of the search, empty if the translation is given."""
    search = translator.bundle.config.search
    source = [*translator.tokenizer.encode(text.strip()), EOS]
    if len(source) == 1:
        raise UserError("the sentence is empty: give a sentence.")
    positions = translator.positions
    limit = MAX_TOKENS if positions is None else min(MAX_TOKENS, positions - PADDING)
    target = translator.tokenizer.target.encode(translation) if translation is not None else []
    length = max(len(source), len(target) + 1)
    if length > limit:
        raise UserError(
            f"the sentence or its translation has {length} tokens, the limit of a page is {limit}: shorten it."
        )
    if translation is not None:
        return TokenPair(source, target), []
    max_length = min(max_translation_length(translator, source), limit - 1)
    source_ids, model = pad([source]).to(translator.device), searchable(translator.model, [Switches()])
    found, nodes = traced_search(model, source_ids, max_length, search.beam_size, LengthPenalty.of(search))
    return TokenPair(source, list(found[0].ids)), nodes


def side_data(tokenizer: AnyTokenizer, text: str, language: str, ids: list[int] | None = None) -> dict[str, Any]:
    """Return tokens and words of one side; each token is a word if the tokenizer segments the text differently."""
    own = tokenizer.encode(text)
    words: list[Word] = words_of(tokenizer, text, language) if ids is None or ids == own else []
    tokens = tokenizer.pieces([*(own if ids is None else ids), EOS])
    if not words:
        words = [Word(i, i + 1, -1, -1) for i in range(len(tokens) - 1)]
    return {"text": text, "tokens": tokens, "words": [list(word) for word in words]}


def _links(base: PairResult, source: list[list[int]], target: list[list[int]]) -> list[list[float]]:
    layers = base.recorded.cross
    cross = layers[deciding_layer(len(layers))][0].float().mean(dim=0).cpu().numpy()
    starts = (
        [word[0] for word in side] + [length - 1] for side, length in ((source, cross.shape[1]), (target, len(cross)))
    )
    return [[i, j, round(weight, 4)] for i, j, weight in links_of(cross, *starts)]


def _search_data(translator: Translator, nodes: list[Node]) -> dict[str, Any]:
    """Return the search tree, reduced to the paths of all hypotheses and the best candidates of each step."""
    search = translator.bundle.config.search
    ended = hypothesis_nodes(nodes, LengthPenalty.of(search))
    kept = {index for end in ended for index in path_of(nodes, end)}
    counts: dict[int, int] = {}
    for index, node in enumerate(nodes):
        counts[node.step] = counts.get(node.step, 0) + 1
        if counts[node.step] <= _NODES_PER_STEP and (node.parent < 0 or node.parent in kept):
            kept.add(index)
    order = sorted(kept)
    new_index = {index: number for number, index in enumerate(order)}
    pieces = translator.tokenizer.target.pieces([nodes[index].token for index in order])
    rows = [
        [new_index.get(node.parent, -1), node.step, piece, round(node.log_probability, 4), node.status]
        for node, piece in zip([nodes[index] for index in order], pieces, strict=True)
    ]
    return {
        "beam_size": search.beam_size,
        "alpha": search.length_penalty,
        "offset": search.length_offset,
        "nodes": rows,
        "ended": [new_index[index] for index in ended],
    }
