"""Activation patching: which activations carry the difference between two forward passes.

An activation of the clean pass (the donor) is put into the corrupted pass (the receiver), which then runs to its end.
The normalised effect at a target position is

    (d_patched - d_corrupted) / (d_clean - d_corrupted),    d = log p(a) - log p(b),

where a is the token of the clean pass and b the token of the corrupted pass at this position. 0: the activation changes
nothing; 1: it alone restores the preference of the clean pass. This is the logit difference of Wang et al. 2022 (the
normaliser of the softmax cancels), patched as in Meng et al. 2022. An effect shows that an activation is sufficient in
this context; it does not show that no other route exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.patching.patching_run import (
    Cell,
    Pass,
    Patcher,
    all_cells,
    generate,
    head_cells,
    predict,
    record_pass,
)
from allyouneed.insight.variants.variant import max_translation_length
from allyouneed.insight.words import Word, words_of
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty
from allyouneed.translation.translator import Translator

MAX_TOKENS = 64  # source and target tokens of a side, with EOS
MAX_TARGETS = 4
_MAX_HEAD_CELLS = 1200  # head · position cells that are computed; large models have too many
_MIN_DIFFERENCE = 0.1  # smallest d_clean - d_corrupted in nats that effects are divided by


@dataclass(frozen=True)
class PatchSide:
    """One of the two passes.

    Attributes:
        text: Source text.
        translation: Its translation by the model of this side.
        source: Source ids with EOS.
        target: Target ids of the translation with EOS.
    """

    text: str
    translation: str
    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class PatchTarget:
    """A target position whose prediction is examined.

    Attributes:
        position: Position of the predicted token, from 0.
        tokens: The ids a (of the clean pass) and b (of the corrupted pass).
        clean: log p(a) and log p(b) in the clean pass.
        corrupted: log p(a) and log p(b) in the corrupted pass.
    """

    position: int
    tokens: tuple[int, int]
    clean: tuple[float, float]
    corrupted: tuple[float, float]

    @property
    def difference(self) -> float:
        """d_clean - d_corrupted, in nats."""
        return (self.clean[0] - self.clean[1]) - (self.corrupted[0] - self.corrupted[1])


@dataclass(frozen=True)
class PatchMap:
    """Effects of the cells of one part of the model.

    Attributes:
        effect: Normalised effects, shape [targets, layers, positions or heads]; NaN where a position of the receiver
            has no counterpart.
        log_p: log p(a) and log p(b) with each cell, shape [targets, layers, positions or heads, 2].
        top: Most likely tokens with each cell, shape [targets, layers, positions or heads, tokens].
        top_log_p: Their log probabilities.
        first_layer: Number of the first row: 1 if the decoder's embeddings are left out, else 0.
    """

    effect: np.ndarray
    log_p: np.ndarray
    top: np.ndarray
    top_log_p: np.ndarray
    first_layer: int = 0


@dataclass(frozen=True)
class Patching(Drawable):
    """Result of `patch_sentences` and `patch_models`.

    Attributes:
        clean: The side that gives activations.
        corrupted: The side that receives them.
        counterparts: For each source position of the corrupted side, the position on the clean side, or -1.
        targets: Examined target positions, the first difference of the translations first.
        maps: Maps by name: "encoder stream", "encoder", "encoder feed-forward", "decoder stream", "decoder", "cross",
            "decoder feed-forward" (layer × position), and "encoder heads", "decoder heads", "cross heads" (layer ×
            head, all positions at once). For small models also "encoder head positions", "decoder head positions" and
            "cross head positions": rows are heads, layer after layer, and columns positions.
        patcher: The two passes; the decoder's input is the start of the clean translation on both sides.
    """

    clean: PatchSide
    corrupted: PatchSide
    counterparts: list[int]
    targets: list[PatchTarget]
    maps: dict[str, PatchMap]
    patcher: Patcher

    def continuations(self, cells: Sequence[Cell | None], max_length: int) -> list[list[int]]:
        """Patch each cell and translate on greedily from the first target position; see `patching_run.generate`."""
        return generate(self.patcher, cells, self.targets[0].position + 1, max_length)


def patch_sentences(translator: Translator, clean: str, corrupted: str, max_tokens: int = MAX_TOKENS) -> Patching:
    """Patch activations of one sentence into the pass of another.

    Args:
        translator: Translator whose model is examined.
        clean: Sentence whose activations are taken.
        corrupted: Sentence whose pass receives them, best a minimal change of `clean`.
        max_tokens: Maximum number of tokens of a side.

    Returns:
        Effects of every cell.

    Raises:
        UserError: If a sentence is empty or too long, both are equal, or the model predicts the same for both.
    """
    sides = _translated([(translator, clean), (translator, corrupted)], max_tokens)
    if sides[0].source == sides[1].source:
        raise UserError("both sentences have the same tokens: give two sentences that differ.")
    words = [_words(translator, side) for side in sides]
    counterparts = align_positions(sides[0].source, sides[1].source, words[0], words[1])
    return _patch((translator, translator), sides, counterparts)


def patch_models(donor: Translator, receiver: Translator, text: str, max_tokens: int = MAX_TOKENS) -> Patching:
    """Patch activations of one model into the pass of another, for example of two checkpoints of a training run.

    Args:
        donor: Translator whose activations are taken.
        receiver: Translator that receives them.
        text: The sentence.
        max_tokens: Maximum number of tokens of a side.

    Returns:
        Effects of every cell.

    Raises:
        UserError: If the text is empty or too long, the models differ in architecture or vocabulary, or they predict
            the same.
    """
    check_exchangeable(donor, receiver)
    sides = _translated([(donor, text), (receiver, text)], max_tokens)
    return _patch((donor, receiver), sides, list(range(len(sides[0].source))))


def check_exchangeable(donor: Translator, receiver: Translator) -> None:
    """Check that activations of one model fit into the other.

    Raises:
        UserError: If architecture or vocabulary differ.
    """
    if not same_vocabulary(donor, receiver):
        raise UserError("patching needs models with the same vocabulary: choose two checkpoints of one training run.")
    if not same_shape(donor, receiver):
        raise UserError("patching needs models with the same architecture: choose two checkpoints of one training run.")


def same_vocabulary(one: Translator, other: Translator) -> bool:
    """Whether both translators map text to the same token ids."""
    return one.tokenizer.files() == other.tokenizer.files()


def same_shape(one: Translator, other: Translator) -> bool:
    """Whether the activations of both models have the same shapes and are normalised at the same points."""
    names = ("d_model", "encoder", "decoder", "norm", "embedding_norm")
    first, second = one.model.config, other.model.config
    return all(getattr(first, name) == getattr(second, name) for name in names)


def align_positions(
    donor: Sequence[int], receiver: Sequence[int], donor_words: Sequence[Word], receiver_words: Sequence[Word]
) -> list[int]:
    """Find the position in the donor for each position of the receiver.

    Equal runs of tokens correspond. Between them, replaced words correspond one to one if their number is equal, and
    their tokens in order; the rest has no counterpart.

    Args:
        donor: Token ids of the donor.
        receiver: Token ids of the receiver.
        donor_words: Words of the donor.
        receiver_words: Words of the receiver.

    Returns:
        Positions in the donor, -1 for none.
    """
    partners = [-1] * len(receiver)
    matcher = SequenceMatcher(None, donor, receiver, autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal" or (kind == "replace" and i_end - i == j_end - j):
            partners[j:j_end] = range(i, i_end)
        elif kind == "replace":
            ours, theirs = _pieces(donor_words, i, i_end), _pieces(receiver_words, j, j_end)
            for (a, a_end), (b, b_end) in zip(ours, theirs, strict=True) if len(ours) == len(theirs) else ():
                length = min(a_end - a, b_end - b)
                partners[b : b + length] = range(a, a + length)
    return partners


def _pieces(words: Sequence[Word], first: int, last: int) -> list[tuple[int, int]]:
    """Cut the words at the ends of a range of tokens."""
    cut = ((max(word.first, first), min(word.last, last)) for word in words)
    return [(begin, end) for begin, end in cut if begin < end]


def _words(translator: Translator, side: PatchSide) -> list[Word]:
    words = words_of(translator.tokenizer, side.text, translator.bundle.languages[0])
    return [*words, Word(len(side.source) - 1, len(side.source), -1, -1)]


@torch.inference_mode()
def _translated(requests: Sequence[tuple[Translator, str]], max_tokens: int) -> tuple[PatchSide, PatchSide]:
    """Translate both sides with the bundle's search settings."""
    sides = []
    for translator, text in requests:
        text = text.strip()
        source = [*translator.tokenizer.encode(text), EOS]
        if len(source) == 1:
            raise UserError("the sentence is empty: give a sentence.")
        translator.refuse_beyond_positions(len(source), "the sentence")
        search, most = translator.bundle.config.search, max_translation_length(translator, source)
        target: list[int] = []
        if len(source) <= max_tokens:
            source_ids = pad([source]).to(translator.device)
            [[best]] = beam_search(translator.engine, source_ids, [most], search.beam_size, LengthPenalty.of(search))
            target = list(best.ids)
        length = max(len(source), len(target) + 1)
        if length > max_tokens:
            raise UserError(f"a side has {length} tokens, the limit of patching is {max_tokens}: shorten the sentence.")
        sides.append(PatchSide(text, translator.tokenizer.target.decode(target), source, [*target, EOS]))
    return sides[0], sides[1]


def _patch(
    translators: tuple[Translator, Translator], sides: tuple[PatchSide, PatchSide], counterparts: list[int]
) -> Patching:
    clean, corrupted = sides
    inputs = [BOS, *clean.target[:-1]]
    donor, receiver = (
        record_pass(translator.model, side.source, inputs) for translator, side in zip(translators, sides, strict=True)
    )
    targets = _targets(donor, receiver, *sides)
    length = max(target.position for target in targets) + 1
    donor, receiver = (
        record_pass(translator.model, side.source, inputs[:length])
        for translator, side in zip(translators, sides, strict=True)
    )
    partners = {"encoder": counterparts, "decoder": list(range(length))}
    patcher = Patcher(donor, receiver, partners)
    first = 0 if donor.model is not receiver.model else 1
    return Patching(clean, corrupted, counterparts, targets, _maps(patcher, targets, first), patcher)


def _targets(donor: Pass, receiver: Pass, clean: PatchSide, corrupted: PatchSide) -> list[PatchTarget]:
    """Choose target positions: the first difference of the translations, then other predictions that differ most."""
    both = (donor.log_p, receiver.log_p)
    pairs = [(i, int(donor.log_p[i].argmax()), int(receiver.log_p[i].argmax())) for i in range(len(donor.log_p))]
    found = [_target(i, a, b, *both) for i, a, b in pairs if a != b]
    found.sort(key=lambda target: -target.difference)
    if clean.target != corrupted.target:
        first = next(i for i, (a, b) in enumerate(zip(clean.target, corrupted.target, strict=False)) if a != b)
        chosen = _target(first, clean.target[first], corrupted.target[first], *both)
        found = [chosen, *(target for target in found if target.position != first)]
    found = [target for target in found if target.difference >= _MIN_DIFFERENCE]
    if not found:
        raise UserError("both passes predict the same tokens: choose sentences or models whose translations differ.")
    return found[:MAX_TARGETS]


def _target(position: int, a: int, b: int, clean: torch.Tensor, corrupted: torch.Tensor) -> PatchTarget:
    values = [(float(log_p[position, a]), float(log_p[position, b])) for log_p in (clean, corrupted)]
    return PatchTarget(position, (a, b), *values)


def _maps(patcher: Patcher, targets: Sequence[PatchTarget], first: int) -> dict[str, PatchMap]:
    """Patch all cells in batches."""
    cells = all_cells(patcher.receiver, patcher.counterparts, first)
    single_heads = head_cells(patcher.receiver, patcher.counterparts)
    if sum(map(len, single_heads.values())) <= _MAX_HEAD_CELLS:
        cells |= single_heads
    known = [
        cell
        for of_map in cells.values()
        for cell in of_map
        if cell.position is None or patcher.counterparts[cell.stack][cell.position] >= 0
    ]
    found = predict(patcher, known, [(target.position, *target.tokens) for target in targets])
    row_of = {cell: row for row, cell in enumerate(known)}
    corrupted = np.array([target.corrupted[0] - target.corrupted[1] for target in targets])
    size = np.array([target.difference for target in targets])
    maps = {}
    for name, of_map in cells.items():
        layers = len({(cell.layer, cell.head if cell.position is not None else None) for cell in of_map})
        rows = np.array([row_of.get(cell, -1) for cell in of_map])
        log_p, top, top_log_p = (_arranged(values[rows], layers) for values in found)
        effect = (log_p[..., 0] - log_p[..., 1] - corrupted[:, None, None]) / size[:, None, None]
        missing = np.broadcast_to((rows < 0).reshape(layers, -1), effect.shape)
        maps[name] = PatchMap(np.where(missing, np.nan, effect), log_p, top, top_log_p, of_map[0].layer)
    return maps


def _arranged(values: np.ndarray, layers: int) -> np.ndarray:
    """[cells, targets, ...] -> [targets, layers, positions or heads, ...]"""
    return np.moveaxis(values.reshape(layers, -1, *values.shape[1:]), 2, 0)
