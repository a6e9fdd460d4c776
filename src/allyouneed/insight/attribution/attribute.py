"""Why this token and not that one: attribution of log p(candidate) - log p(instead_of) to source and target prefix.

After the same prefix, the difference of two log probabilities is the difference of two logits. Two translations are
compared at their fork: the first token in which they differ.

Methods, each with one value per source token and per token of the decoder's input:
ig          integrated gradients, signed, in nats (`gradients.py`)
loo         leave one out: drop of the difference if the token's content is removed, signed, in nats (`deletion.py`)
alti        ALTI+, shares that sum to 1 (`mixing.py`)
rollout     attention rollout, shares that sum to 1
attention   raw attention of one layer, shares that sum to 1
The last three do not depend on the two candidates.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.insight.attribution.deletion import DeletionTest, deletion_test, leave_one_out
from allyouneed.insight.attribution.gradients import STEPS, IntegratedGradients, integrated_gradients
from allyouneed.insight.attribution.mixing import alti, raw_attention, rollout
from allyouneed.insight.attribution.removal import PartialInputs, Question
from allyouneed.insight.attribution.shading import shaded_tokens
from allyouneed.insight.drawable import Drawable
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator

METHODS = ("ig", "loo", "alti", "rollout", "attention")
MAX_TOKENS = 128  # per side


@dataclass(frozen=True)
class Attribution(Drawable):
    """The answer to one question.

    Attributes:
        source_tokens: Source tokens with </s>.
        prefix_tokens: The decoder's input, from <s> on.
        candidate: The token asked about.
        instead_of: The token that it is compared with.
        difference: log p(candidate) - log p(instead_of), in nats.
        baseline: The same difference if no token has content.
        steps: Number of points of the integral of "ig".
        values: For each of the methods above, an array [source + prefix].
        deletion: The deletion test of all methods, or None if it was not run.
    """

    source_tokens: list[str]
    prefix_tokens: list[str]
    candidate: str
    instead_of: str
    difference: float
    baseline: float
    steps: int
    values: dict[str, np.ndarray]
    deletion: DeletionTest | None

    def source(self, method: str = "ig") -> np.ndarray:
        """Return the values of the source tokens."""
        return self.values[method][: len(self.source_tokens)]

    def prefix(self, method: str = "ig") -> np.ndarray:
        """Return the values of the decoder's inputs."""
        return self.values[method][len(self.source_tokens) :]

    def _repr_html_(self) -> str:
        """Draw the tokens shaded by integrated gradients, for notebooks."""
        caption = f"log p({self.candidate}) - log p({self.instead_of}) = {self.difference:.2f}"
        rows = [("source", self.source_tokens, self.source()), ("prefix", self.prefix_tokens, self.prefix())]
        return shaded_tokens(rows, caption)

    def data(self) -> dict[str, Any]:
        """Convert to the form that the page reads, see `questions.py`."""
        test = self.deletion
        return {
            "prefix": self.prefix_tokens,
            "candidate": self.candidate,
            "instead_of": self.instead_of,
            "difference": _short(self.difference),
            "baseline": _short(self.baseline),
            "steps": self.steps,
            "values": {name: [_short(x) for x in values] for name, values in self.values.items()},
            "deletion": test
            and {
                "removed": test.removed,
                "curves": {name: [_short(x) for x in curve] for name, curve in test.curves.items()},
                "drops": {name: _short(test.drop(name)) for name in test.curves},
                "changed": {name: test.until_changed(name) for name in test.curves},
            },
        }


def attribute(
    translator: Translator,
    text: str,
    candidate: str | Sequence[int],
    instead_of: str | Sequence[int],
    prefix: str = "",
    deletion: bool = True,
    by_preference: bool = False,
    max_steps: int = 81 * STEPS,
) -> Attribution:
    """Attribute the preference for one translation over another to the source and to their common prefix.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        candidate: A translation or its beginning after `prefix`, as text or as token ids. If `instead_of`
            continues it, the question is why the translation ends here.
        instead_of: The translation to compare with, or its beginning.
        prefix: Beginning of both translations.
        deletion: Whether to run the deletion test, which takes most of the time.
        by_preference: Whether to exchange the two if the model prefers `instead_of` at the fork.
        max_steps: Largest number of points for integrated gradients.

    Returns:
        The attributions at the first token in which the two differ.

    Raises:
        UserError: If the text is empty, a side is too long, an id is not in the vocabulary, or the two translations
            are equal.
    """
    tokenizer = translator.tokenizer.target
    start = tokenizer.encode(prefix) if prefix else []
    one, other = ([*start, *_ids(translator, each)] for each in (candidate, instead_of))
    source = [*translator.tokenizer.encode(text.strip()), EOS]
    if len(source) == 1:
        raise UserError("the sentence is empty: give a sentence.")
    question, target = fork(one, other)
    check_length(translator, len(source), len(target))
    [found] = answer(translator, source, target, [question], int(deletion), max_steps, by_preference=by_preference)
    return found


def fork(one: Sequence[int], other: Sequence[int]) -> tuple[Question, list[int]]:
    """Find the first token in which two translations differ; the end of a translation is EOS.

    Returns:
        The question, and the decoder's input up to its position.

    Raises:
        UserError: If they are equal.
    """
    one, other = ([*ids, EOS] if EOS not in ids else list(ids) for ids in (one, other))
    for position, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return Question(position, first, second), [BOS, *one[:position]]
    raise UserError("attribution: the two translations are equal: choose two that differ.")


def answer(
    translator: Translator,
    source: Sequence[int],
    target: Sequence[int],
    questions: Sequence[Question],
    deletion: int,
    max_steps: int = 81 * STEPS,
    recorded: AttentionRecorder | None = None,
    by_preference: bool = False,
) -> list[Attribution]:
    """Answer questions about one sentence pair.

    Args:
        translator: Translator whose model is examined.
        source: Source ids with EOS.
        target: The decoder's input, from BOS on.
        questions: Questions about it.
        deletion: Number of questions, from the first one, for which the deletion test is run.
        max_steps: Largest number of points for integrated gradients.
        recorded: Recording of the pair with stages; None to record it now.
        by_preference: Whether to exchange the two tokens of a question if the second is more probable.

    Returns:
        One result per question.
    """
    inputs = PartialInputs(translator.model, source, target)
    if by_preference:
        questions = _by_preference(inputs, questions)
    shares = _shares(translator.model, recorded or _record(inputs))
    gradients = integrated_gradients(inputs, questions, max_steps=max_steps)
    dropped = leave_one_out(inputs.up_to(max(each.position for each in questions)), list(questions))
    tokens = translator.tokenizer.pieces(source), ["<s>", *translator.tokenizer.target.pieces(target[1:])]
    found = []
    for number, question in enumerate(questions):
        size = len(source) + question.position + 1
        values = {"ig": gradients.values[number][:size], "loo": dropped[number][:size]}
        values |= {name: rows[question.position][:size] for name, rows in shares.items()}
        test = deletion_test(inputs, question, values) if number < deletion else None
        found.append(_attribution(translator, tokens, question, gradients, number, values, test))
    return found


def check_length(translator: Translator, source: int, target: int) -> None:
    """Check the number of tokens of a pair.

    Raises:
        UserError: If there are too many.
    """
    embeddings = translator.model.source_embedding, translator.model.target_embedding
    limit = min(MAX_TOKENS, *(each.max_positions or MAX_TOKENS for each in embeddings))
    if max(source, target) > limit:
        raise UserError(
            f"attribution: the sentence or its translation has {max(source, target)} tokens, the limit is {limit}: "
            "shorten it."
        )


def _by_preference(inputs: PartialInputs, questions: Sequence[Question]) -> list[Question]:
    [differences] = inputs.evaluate(np.ones((1, inputs.length)), questions)
    exchanged = [Question(each.position, each.instead_of, each.candidate) for each in questions]
    return [pair[int(x < 0)] for pair, x in zip(zip(questions, exchanged, strict=True), differences, strict=True)]


def _attribution(
    translator: Translator,
    tokens: tuple[list[str], list[str]],
    question: Question,
    gradients: IntegratedGradients,
    number: int,
    values: dict[str, np.ndarray],
    test: DeletionTest | None,
) -> Attribution:
    pieces = translator.tokenizer.target.pieces([question.candidate, question.instead_of])
    return Attribution(
        source_tokens=tokens[0],
        prefix_tokens=tokens[1][: question.position + 1],
        candidate=pieces[0],
        instead_of=pieces[1],
        difference=float(gradients.full[number]),
        baseline=float(gradients.baseline[number]),
        steps=int(gradients.steps[number]),
        values=values,
        deletion=test,
    )


def _shares(model: Transformer, recorded: AttentionRecorder) -> dict[str, np.ndarray]:
    return {"alti": alti(model, recorded), "rollout": rollout(recorded), "attention": raw_attention(recorded)}


@torch.no_grad()
def _record(inputs: PartialInputs) -> AttentionRecorder:
    recorder = AttentionRecorder(stages=True)
    inputs.model.hidden(inputs.source, inputs.target, Probe((recorder,)))
    return recorder


def _ids(translator: Translator, given: str | Sequence[int]) -> list[int]:
    tokenizer = translator.tokenizer.target
    if isinstance(given, str):
        return tokenizer.encode(given)
    try:
        ids = [operator.index(i) for i in given]  # also of NumPy and PyTorch
    except TypeError:
        ids = [-1]
    if not all(0 <= i < len(tokenizer) for i in ids):
        raise UserError(f"attribution: token ids must be integers from 0 to {len(tokenizer) - 1}.")
    return ids


def _short(value: float) -> float:
    return float(f"{value:.4g}")
