"""Effects of the switches over a set of sentences, in contrast to one sentence.

name, given     name of the text, and whether it was given by `--test` (otherwise the run's validation text)
sentences       number of sentences; available: number in the text that are short enough
tokens          target tokens of the references, with </s>
base            log_p: mean log probability of the references per token, in nats; entropy: mean over all heads and
                queries, in nats; jacobian: mean of `variant.jacobian_norms`
variants        {key: the same, and changed: number of greedy translations that differ from the unchanged model's}
gradients       see `scale_gradients.py`
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.files.formats import read_pairs
from allyouneed.data.files.selection import AnyColumns
from allyouneed.data.prepared import PreparedData
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.errors import UserError
from allyouneed.insight.variants.scale_gradients import gradients_data
from allyouneed.insight.variants.switches import Switches, interventions, single_switches
from allyouneed.insight.variants.variant import PADDING, jacobian_norms, max_translation_length
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.translation.search import NEVER_GENERATED, greedy
from allyouneed.translation.translator import Translator

SENTENCES, _FEWEST = 40, 4
LONGEST = 64  # tokens of a side; longer pairs are left out
_BUDGET = 4e10  # multiplications; about 2 seconds on one core
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class EffectText:
    """Text over which effects are measured.

    Attributes:
        pairs: Source and reference of each sentence.
        name: Name of the text.
        given: Whether the text was given; then `SENTENCES` sentences are used whatever the size of the model.
    """

    pairs: Sequence[tuple[str, str]]
    name: str
    given: bool = False


class EffectPair(NamedTuple):
    """Token ids of a sentence: source and reference with EOS, the model's own greedy translation without EOS."""

    source: list[int]
    reference: list[int]
    own: list[int]
    longest: int  # maximum length of the own translation


def effect_text(run: Path, files: Sequence[Path] = (), columns: AnyColumns = (1, 2)) -> EffectText | None:
    """Find text to measure effects on.

    Args:
        run: A run or a bundle.
        files: Two text files or one TSV file; empty for the validation text of the run.
        columns: Columns of the TSV file.

    Returns:
        The text, or None if the run has no validation text.

    Raises:
        UserError: If a file cannot be read or a line is malformed, or the run's validation text is damaged.
    """
    if files:
        pairs = list(islice(read_pairs(files, columns), 1000))
        if fault := next((pair for pair in pairs if pair.fault), None):
            raise UserError(f"{files[0]}:{fault.line}: {fault.fault}. Correct the line.")
        return EffectText([(pair.source, pair.target) for pair in pairs], files[0].name, given=True)
    prepared = PreparedData(run / "data")
    return EffectText(prepared.valid_texts(), "valid") if prepared.is_complete else None


def effects_data(translator: Translator, text: EffectText) -> dict[str, Any] | None:
    """Measure the effect of each switch over a set of sentences.

    The sentences are the first of the text with at most `LONGEST` tokens per side. A large model is measured on fewer
    of them, by an estimate of the arithmetic that does not depend on the machine.

    Args:
        translator: Translator whose model is examined.
        text: Text to measure on.

    Returns:
        The JSON object described above; None if no sentence of the run's validation text is short enough.

    Raises:
        UserError: If no sentence pair of given text can be measured.
    """
    encoded = _encoded(translator, text)
    pairs = encoded[: SENTENCES if text.given else affordable(translator.model, encoded[:SENTENCES])]
    if not pairs and text.given:
        raise UserError(f"{text.name}: no sentence pair can be measured. Give other text with --test.")
    if not pairs:
        return None
    pairs = _with_own_translations(translator, pairs)
    model = translator.model
    carried = [Switches(), *(each for each in single_switches(model) if not each.off)]
    base, *variants = (_measure(model, pairs, switches) for switches in carried)
    kept = [i for i in range(len(pairs)) if not base.changed[i]]  # all, except for ties within rounding
    return {
        "name": text.name,
        "given": text.given,
        "sentences": len(pairs),
        "available": len(encoded),
        "tokens": sum(len(pair.reference) for pair in pairs),
        "base": base.facts,
        "variants": {
            switches.key: {**found.facts, "changed": sum(found.changed[i] for i in kept)}
            for switches, found in zip(carried[1:], variants, strict=True)
        },
        "gradients": gradients_data(model, [(pair.source, pair.reference) for pair in pairs]),
    }


def affordable(model: Transformer, pairs: Sequence[EffectPair]) -> int:
    """Estimate how many of the pairs can be measured within the budget of arithmetic, at least `_FEWEST`."""
    config, count, spent = model.config, 0, 0.0
    encoder, decoder = config.encoder.count_weights(config.d_model, 1), config.decoder.count_weights(config.d_model, 2)
    decoder += config.d_model * model.output.out_features
    for pair in pairs:
        source, target = len(pair.source), len(pair.reference)
        one = source * encoder + 2 * target * decoder
        gradients = 2 * 2 * 3 * (source * encoder + target * decoder)  # two models, twice, forward and backward
        spent += 7 * one + target * target / 4 * decoder + gradients
        if count >= _FEWEST and spent > _BUDGET:
            break
        count += 1
    return count


class _Measured(NamedTuple):
    """Facts about a variant, and for each sentence whether its greedy translation changed."""

    facts: dict[str, float]
    changed: list[bool]


@torch.inference_mode()
def _measure(model: Transformer, pairs: Sequence[EffectPair], switches: Switches) -> _Measured:
    """Measure one variant; a switched-off mask must not let padding of a batch in, so lengths are then equal."""
    exact = not (switches.future_mask and switches.padding_mask)
    log_p = entropy = jacobian = 0.0
    changed, rows = [False] * len(pairs), 0
    for batch in _batches([(len(pair.source), len(pair.reference)) for pair in pairs], exact):
        chosen = [pairs[i] for i in batch]
        recorder = AttentionRecorder()
        changes = interventions(model, switches)
        recording, probe = Probe((recorder,), changes), Probe(interventions=changes)
        padding = [PAD] * (0 if switches.padding_mask else PADDING)
        device = model.output.weight.device
        memory = model.encode(pad([[*pair.source, *padding] for pair in chosen]).to(device), recording)
        inputs = pad([[BOS, *pair.reference[:-1]] for pair in chosen]).to(device)
        logits = model.output(model.decode(inputs, *memory, recording))
        for row, pair in enumerate(chosen):
            target = torch.tensor(pair.reference, device=device)
            given = log_probabilities(logits[row, : len(target)]).gather(-1, target[:, None])
            log_p += float(given.sum())
            lengths = {"encoder": len(pair.source), "decoder": len(target), "cross": len(target)}
            for kind in KINDS:
                weights = torch.stack([layer[row, :, : lengths[kind]] for layer in recorder.weights(kind)])
                entropy += float(torch.special.entr(weights).sum())
                jacobian += float(jacobian_norms(weights).sum())
                rows += weights.shape[:-1].numel()
        same = _same_stepwise if not switches.future_mask else _same_at_once
        for i, unchanged in zip(batch, same(model, chosen, memory, probe), strict=True):
            changed[i] = not unchanged
    tokens = sum(len(pair.reference) for pair in pairs)
    means = {"log_p": log_p / tokens, "entropy": entropy / rows, "jacobian": jacobian / rows}
    return _Measured({name: round(value, 4) for name, value in means.items()}, changed)


def _same_at_once(
    model: Transformer, pairs: Sequence[EffectPair], memory: tuple[Tensor, Tensor], probe: Probe
) -> list[bool]:
    """Check whether greedy decoding gives the own translation.

    It does if each of its tokens is the most likely one given the tokens before, which one pass computes: with the
    mask of later positions, a state does not depend on them.
    """
    inputs = pad([[BOS, *pair.own] for pair in pairs]).to(memory[0].device)
    best = _most_likely(model.output(model.decode(inputs, *memory, probe)))
    return [best[row, : len(_ended(pair))].tolist() == _ended(pair) for row, pair in enumerate(pairs)]


def _same_stepwise(
    model: Transformer, pairs: Sequence[EffectPair], memory: tuple[Tensor, Tensor], probe: Probe
) -> list[bool]:
    """Check the same without the mask of later positions: prefix by prefix, until the first difference."""
    alive = list(range(len(pairs)))
    for length in range(1 + max(len(pair.own) for pair in pairs)):
        alive_here = [row for row in alive if length < len(_ended(pairs[row]))]
        if not alive_here:
            continue
        prefixes = torch.tensor([[BOS, *pairs[row].own[:length]] for row in alive_here], device=memory[0].device)
        states = model.decode(prefixes, memory[0][alive_here], memory[1][alive_here], probe)[:, -1:]
        best = _most_likely(model.output(states))[:, 0].tolist()
        lost = {row for row, token in zip(alive_here, best, strict=True) if token != _ended(pairs[row])[length]}
        alive = [row for row in alive if row not in lost]
    return [row in alive for row in range(len(pairs))]


def _most_likely(logits: Tensor) -> Tensor:
    logits[..., NEVER_GENERATED] = -torch.inf
    return logits.argmax(dim=-1)


def _ended(pair: EffectPair) -> list[int]:
    """Return the tokens of the own translation that the model chose: with EOS, unless the length limit ended it."""
    return pair.own if len(pair.own) >= pair.longest else [*pair.own, EOS]


def _batches(lengths: Sequence[tuple[int, int]], exact: bool) -> Iterator[list[int]]:
    """Yield the indices of each batch; if `exact`, all of its sentences have the same two lengths."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, pair in enumerate(lengths):
        groups[pair if exact else (0, 0)].append(index)
    for group in groups.values():
        batch: list[int] = []
        for index in sorted(group, key=lambda i: (max(lengths[i]), i)):
            if batch and (len(batch) + 1) * max(lengths[index]) > _BATCH_TOKENS:
                yield batch
                batch = []
            batch.append(index)
        yield batch


def _encoded(translator: Translator, text: EffectText) -> list[EffectPair]:
    """Encode the pairs that are short enough."""
    limit = min(LONGEST, translator.longest_source)
    found = []
    for source, reference in text.pairs:
        ids = [*translator.tokenizer.encode(source.strip()), EOS]
        target = [*translator.tokenizer.target.encode(reference.strip()), EOS]
        if 1 < len(ids) <= limit and 1 < len(target) <= limit:
            found.append(EffectPair(ids, target, [], 0))
    return found


def _with_own_translations(translator: Translator, pairs: Sequence[EffectPair]) -> list[EffectPair]:
    longest = [max_translation_length(translator, pair.source) for pair in pairs]
    source = pad([pair.source for pair in pairs]).to(translator.device)
    own = [found.ids for found in greedy(translator.engine, source, longest, scores=False)]
    return [pair._replace(own=list(ids), longest=limit) for pair, ids, limit in zip(pairs, own, longest, strict=True)]
