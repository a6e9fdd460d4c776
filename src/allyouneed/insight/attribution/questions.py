"""The part `attribution` of the explorer's data: answers to a bounded selection of questions.

methods     names of the methods, see `attribute.py`
limit       largest number of tokens per side that a server accepts
questions   list of answers, in the order of interest; the candidate is the token that the model prefers. An answer:
            position (of the decoder's input that predicts the two tokens), prefix (tokens of the decoder's input up to
            it), candidate and instead_of (tokens), difference and baseline (log p(candidate) - log p(instead_of) of the
            pair, and without any content, in nats), steps (points of the integral), values {method: [source + prefix]},
            deletion: null, or removed (numbers of removed tokens), curves {method or "random": difference after each
            number}, drops (area under the drop, in nats) and changed (removals until the sign of the difference has
            changed, or null)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.insight.attribution.attribute import MAX_TOKENS, METHODS, Attribution, answer, attribute, fork
from allyouneed.insight.attribution.gradients import STEPS
from allyouneed.insight.attribution.removal import Question
from allyouneed.insight.tree import Node, hypothesis_nodes, path_of
from allyouneed.insight.variants.variant import PairResult, TokenPair
from allyouneed.translation.search import LengthPenalty
from allyouneed.translation.translator import Translator

BUDGET = 2.6e11  # floating-point operations of a page: 2 to 4 seconds on one core
SERVED_BUDGET = 1e10  # the same for a page that can ask its server for other answers
_LIVE_BUDGET = 5e11  # the same for the gradients of one answer of a server, which also limits its deletion test
_MAX_QUESTIONS = 32  # keeps the part below 80 KB
_BYTES = 80_000
_ALTERNATIVES = 2  # per position
_DELETION_ROWS = 48  # about; the exact number depends on the length


def attribution_data(
    translator: Translator, pair: TokenPair, base: PairResult, nodes: Sequence[Node], budget: float = BUDGET
) -> dict[str, Any] | None:
    """Answer the most interesting questions about a translation that fit into a budget.

    First come the forks of the finished hypotheses from the translation, then each position with its runner-up, the
    closest decisions first, then the third candidates. The selection depends only on sizes, not on measured time.

    Args:
        translator: Translator whose model is examined.
        pair: Sentence pair.
        base: Its forward pass, with stages.
        nodes: The search tree, empty if the translation was given.
        budget: Largest number of floating-point operations.

    Returns:
        The data described above; None if the sentence is too long.
    """
    if max(len(pair.source), len(pair.target) + 1) > MAX_TOKENS:
        return None
    target = [BOS, *pair.target]
    questions = _candidates(translator, pair, base, nodes)
    count, tests, max_steps = _plan(translator.model.config, len(pair.source), len(target), len(questions), budget)
    found: list[Attribution] = []
    if count:
        found = answer(translator, pair.source, target, questions[:count], tests, max_steps, base.recorded, True)
    return {
        "methods": list(METHODS),
        "limit": MAX_TOKENS,
        "questions": [
            {"position": question.position, **each.data()} for question, each in zip(questions, found, strict=False)
        ],
    }


def live_attribution(
    translator: Translator, text: str, candidate: Sequence[str], instead_of: Sequence[str]
) -> dict[str, Any]:
    """Answer a question that an open page asks, in the form of an entry of `questions`.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        candidate: Tokens of a translation or its beginning.
        instead_of: Those of the other one.

    Raises:
        UserError: As `attribute`, and if a token is not in the vocabulary.
    """
    tokenizer = translator.tokenizer.target
    ids = [tokenizer.ids(list(tokens)) for tokens in (candidate, instead_of)]
    for tokens, known in zip((candidate, instead_of), ids, strict=True):
        if tokenizer.pieces(known) != list(tokens):
            raise UserError("attribution: a token is not in the target vocabulary: send tokens of the page.")
    row = row_operations(translator.model.config, len(translator.tokenizer.encode(text)) + 1, max(map(len, ids)))
    steps = [count for count in (STEPS, 3 * STEPS, 9 * STEPS) if 2 * count * row <= _LIVE_BUDGET]
    found = attribute(
        translator,
        text,
        ids[0],
        ids[1],
        deletion=bool(steps),
        by_preference=True,
        max_steps=max(steps, default=STEPS),
    )
    return {"position": len(found.prefix_tokens) - 1, **found.data()}


def _candidates(translator: Translator, pair: TokenPair, base: PairResult, nodes: Sequence[Node]) -> list[Question]:
    """List questions about a translation, the most interesting ones first, without repetition."""
    best = [*pair.target, EOS]
    questions: list[Question] = []
    penalty = LengthPenalty.of(translator.bundle.config.search)
    for end in hypothesis_nodes(list(nodes), penalty):
        other = [nodes[index].token for index in path_of(list(nodes), end)]
        if other != best:
            questions.append(fork(best, other)[0])
    order = np.argsort(-base.log_p, axis=1, kind="stable")[:, : _ALTERNATIVES + 1]
    for rank in range(_ALTERNATIVES):
        margins = []
        for position, token in enumerate(best):
            others = [int(i) for i in order[position] if i != token]
            log_p = base.log_p[position]
            margins.append((float(log_p[token] - log_p[others[rank]]), Question(position, token, others[rank])))
        questions += [question for _, question in sorted(margins)]
    return list(dict.fromkeys(questions))[:_MAX_QUESTIONS]


def _plan(config: ModelConfig, source: int, target: int, available: int, budget: float) -> tuple[int, int, int]:
    """Choose what to compute.

    Returns:
        Number of questions, number of deletion tests, and largest number of points for integrated gradients.
    """
    row = row_operations(config, source, target)
    left = budget - row * (source + target + STEPS)  # leave one out, and the forward passes of the gradients
    gradient, test = row * STEPS, row * _DELETION_ROWS
    size = 40 * (source + target) + 300  # bytes of a question
    available = min(available, _BYTES // size)
    if left < gradient + test or not available:
        return 0, 0, STEPS
    refined = 4 * gradient  # with three times the points
    if left >= available * (refined + test):
        return available, available, 3 * STEPS
    count = min(available, int((left - test) // gradient))
    return count, min(count, int((left - count * gradient) // test)), STEPS


def row_operations(config: ModelConfig, source: int, target: int) -> float:
    """Estimate the floating-point operations of one forward pass without the pre-softmax linear."""
    d_model, (encoder, decoder) = config.d_model, (config.encoder, config.decoder)
    heads = encoder.heads * (encoder.d_k + encoder.d_v)
    encoding = source * (2 * d_model * (heads + encoder.d_ff) + heads * source)
    heads = decoder.heads * (decoder.d_k + decoder.d_v)
    decoding = target * (2 * d_model * (1.5 * heads + decoder.d_ff) + heads * (source + target))
    return 2.0 * (encoder.layers * encoding + decoder.layers * (decoding + source * d_model * heads))
