"""All that the explorer shows of one sentence, as one JSON object. The page carries it; a server may send it.

format          1
text            the source; `translation` the target; `languages` [source, target] codes or null
model           encoder_layers, decoder_layers, heads, d_model, d_k, d_v, norm, parameters, vocabulary
source, target  text (NFC), tokens (with </s>), words: [first token, last (not included), begin, end character];
                target.inputs: tokens that the decoder sees, from <s> on
base            the variant with the paper's switches
variants        {key: variant}, what a page carries; a server gives others by `fetchVariant(switches)`
variant         key, switches, source_tokens, entropy and change [head] (kinds, then layers, then heads; nats, and
                the share of attention that moved), slope (`variant.slope`; like entropy null if brief),
                predictions {given, top, log_p} or null, translation {text, score} or null, attention
                {encoder, decoder, cross} as `coding.pack_weights`, if kept
stages          {encoder: [layer], decoder, cross} or null. A layer: queries, keys, values, heads, scores
                [head, row, column]; x, output, residual, result, and memory for cross [row, column]; each as
                `coding.pack_matrices`
links           [source word, target word, weight]: the alignment read off attention (`alignment.align`)
search          null, or beam_size, alpha, nodes [parent, step, token, log_p, status], ended: places of the last nodes
                of the hypotheses, best first
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import EOS, to_nfc
from allyouneed.data.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.coding import Plan, Sizes, choose_plan, pack_matrices, pack_weights
from allyouneed.insight.switches import Switches, all_heads, searchable, single_switches
from allyouneed.insight.tree import Node, hypothesis_nodes, path_of, traced_search
from allyouneed.insight.variant import (
    LONGEST_SEARCH,
    PADDING,
    Pair,
    Passed,
    longest_translation,
    run_pair,
    variant_data,
    variants_data,
    weights_of,
)
from allyouneed.insight.words import Word, links_of, words_of
from allyouneed.model.probe import KINDS, AttentionRecorder
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.translator import Translator

FORMAT = 1
LONGEST = 520  # subwords, end included, that a page can show
BUDGET = 1_700_000  # bytes, of numbers; the rest of 2 MB is script, style, and what has no fixed size
_BRIEF = 60, 6  # bytes of a variant with a head off: a target token, a head
_CUT_LEVEL = 12  # the nodes of a search that are kept, for a sentence of many steps: best, and so many a step


def explorer_data(
    translator: Translator,
    text: str,
    switches: Iterable[Switches] | None = None,
    translation: str | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """One sentence, looked at. switches: the variants to carry along, every single switch if None.

    translation: of it, by the model itself if None. told: hears how many variants are done, of how many. Errors:
    `UserError` for no text or too long a text.
    """
    pair, nodes = _pair(translator, text, translation)
    carried = single_switches(translator.model) if switches is None else list(switches)
    if len(pair.source) > LONGEST_SEARCH:
        carried = [each for each in carried if not each.off]
    with_attention = sum(not each.off for each in carried)
    heads = len(all_heads(translator.model))
    brief = (len(carried) - with_attention) * ((len(pair.target) + 1) * _BRIEF[0] + heads * _BRIEF[1])
    base = run_pair(translator, pair, Switches(), stages=True)
    plan = choose_plan(attention_sizes(base.recorded), with_attention, BUDGET - brief)
    variants = {}
    for variant in variants_data(translator, pair, carried, plan, base):
        variants[variant["key"]] = variant
        told(len(variants), len(carried))
    paper = variant_data(translator, pair, Switches(), plan._replace(variants=0), base)
    paper["attention"] = packed_attention(base.recorded, plan)
    languages = translator.bundle.languages
    source = _side(translator.tokenizer, to_nfc(text.strip()), languages[0])
    of_target = translator.tokenizer.target
    target = _side(of_target, of_target.decode(pair.target), languages[1], pair.target)
    return {
        "format": FORMAT,
        "text": source["text"],
        "translation": target["text"],
        "languages": list(languages),
        "model": model_facts(translator.model),
        "source": source,
        "target": {**target, "inputs": ["<s>", *target["tokens"][:-1]]},
        "base": paper,
        "variants": variants,
        "stages": packed_stages(base.recorded, plan),
        "links": _links(base, source["words"], target["words"]),
        "search": _search_data(translator, nodes) if nodes else None,
    }


def live_variant(translator: Translator, text: str, translation: str, switches: Switches) -> dict[str, Any]:
    """A variant for a page that is open: what its `fetchVariant` asks a server for. Errors: `UserError`."""
    pair, _ = _pair(translator, text, translation)
    base = run_pair(translator, pair, Switches())
    plan = choose_plan(attention_sizes(base.recorded), 1, BUDGET)
    return variant_data(translator, pair, switches, plan, base)


def model_facts(model: Transformer) -> dict[str, Any]:
    """`model`, see above."""
    config = model.config
    return {
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "heads": config.num_heads,
        "d_model": config.d_model,
        "d_k": config.key_size,
        "d_v": config.value_size,
        "norm": config.norm,
        "parameters": model.num_parameters(),
        "vocabulary": model.vocab_size,
    }


def packed_stages(recorded: AttentionRecorder, plan: Plan) -> dict[str, Any] | None:
    """Of the first sentence of the batch. What is another's twin is left out: memory and residual where they are x,
    concat, which is heads side by side, and weights, which follow from the scores."""
    if not plan.stages:
        return None
    packed: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        packed[kind] = []
        for arrays in recorded.arrays(kind, 0):
            names = ["x", "output", "result", "queries", "keys", "values", "heads"]
            names += ["memory"] if kind == "cross" else []
            names += [] if np.array_equal(arrays["residual"], arrays["x"]) else ["residual"]
            layer = {name: pack_matrices(arrays[name], plan.stages, plan.columns) for name in names}
            packed[kind].append({**layer, "scores": pack_matrices(arrays["scores"], 16)})
    return packed


def _pair(translator: Translator, text: str, translation: str | None) -> tuple[Pair, list[Node]]:
    """The pair to look at; the search that found the translation, unless that was given."""
    search = translator.bundle.config.search
    source = [*translator.tokenizer.encode(text.strip()), EOS]
    if len(source) == 1:
        raise UserError("there is nothing to look at: give a sentence.")
    limit = translator.model.source_embedding.max_positions
    room = LONGEST if limit is None else min(LONGEST, limit - PADDING)
    target = translator.tokenizer.target.encode(translation) if translation is not None else []
    if max(len(source), len(target) + 1) > room:
        most = max(len(source), len(target) + 1)
        raise UserError(
            f"the sentence or its translation has {most} subwords, a page shows {room}: give a shorter one."
        )
    if translation is not None:
        return Pair(source, target), []
    longest = min(longest_translation(translator, source), room - 1)
    source_ids, model = pad([source]).to(translator.device), searchable(translator.model, [Switches()])
    found, nodes = traced_search(model, source_ids, longest, search.beam_size, search.length_penalty)
    return Pair(source, list(found[0].ids)), nodes


def _side(tokenizer: AnyTokenizer, text: str, language: str, ids: list[int] | None = None) -> dict[str, Any]:
    """A text's tokens and words; words need that the tokens are what the tokenizer makes of the text."""
    own = tokenizer.encode(text)
    words: list[Word] = words_of(tokenizer, text, language) if ids is None or ids == own else []
    tokens = tokenizer.pieces([*(own if ids is None else ids), EOS])
    if not words:
        words = [Word(i, i + 1, -1, -1) for i in range(len(tokens) - 1)]
    return {"text": text, "tokens": tokens, "words": [list(word) for word in words]}


def _links(base: Passed, source: list[list[int]], target: list[list[int]]) -> list[list[float]]:
    layers = base.recorded.cross
    cross = layers[deciding_layer(len(layers))][0].float().mean(dim=0).cpu().numpy()
    starts = (
        [word[0] for word in side] + [length - 1] for side, length in ((source, cross.shape[1]), (target, len(cross)))
    )
    return [[i, j, round(weight, 4)] for i, j, weight in links_of(cross, *starts)]


def packed_attention(recorded: AttentionRecorder, plan: Plan) -> dict[str, Any]:
    """Of the first sentence of the batch, each of `KINDS`."""
    return {kind: pack_weights(x, plan.weights, plan.top) for kind, x in weights_of(recorded).items()}


def attention_sizes(recorded: AttentionRecorder) -> Sizes:
    """How much there is to pack, of one sentence."""
    kept = [x for kind in KINDS for x in recorded.weights(kind)]
    vectors = []
    for kind in KINDS:
        for tensors in recorded.layers(kind) if recorded.stages else []:
            for name in ("queries", "keys", "values", "heads"):
                _, heads, rows, width = tensors[name].shape
                vectors.append((heads * rows, width))
            for name in ("x", "output", "residual", "result", *(["memory"] if kind == "cross" else [])):
                _, rows, width = tensors[name].shape
                vectors.append((rows, width))
    return Sizes(sum(x[0].numel() for x in kept), sum(x[0, :, :, 0].numel() for x in kept), vectors)


def _search_data(translator: Translator, nodes: list[Node]) -> dict[str, Any]:
    """The tree without what a long search cut: kept are the ways of all hypotheses, and the first of each step."""
    search = translator.bundle.config.search
    ended = hypothesis_nodes(nodes, search.length_penalty)
    needed = {place for end in ended for place in path_of(nodes, end)}
    seen: dict[int, int] = {}
    for place, node in enumerate(nodes):
        seen[node.step] = seen.get(node.step, 0) + 1
        if seen[node.step] <= _CUT_LEVEL and (node.parent < 0 or node.parent in needed):
            needed.add(place)
    kept = sorted(needed)
    places = {place: number for number, place in enumerate(kept)}
    rows = [
        [places.get(node.parent, -1), node.step, piece, round(node.log_probability, 4), node.status]
        for node, piece in zip(
            [nodes[place] for place in kept],
            translator.tokenizer.target.pieces([nodes[place].token for place in kept]),
            strict=True,
        )
    ]
    return {
        "beam_size": search.beam_size,
        "alpha": search.length_penalty,
        "nodes": rows,
        "ended": [places[place] for place in ended],
    }
