"""What drafts of translations are made from, learned from parallel text; see `engine/drafts.py`.

N-grams are interpolated (Witten and Bell 1991, with constant discounts); translations of tokens are those of IBM model
1 (Brown et al. 1993). Rare events are left out, so that the tables take a small part of a model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from allyouneed.bundle import Bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.translation.engine.memory import DraftMemory

MAX_PAIRS = 50_000  # sentence pairs that are learned from
_MAX_TOKENS = 100  # per sentence
_ITERATIONS = 5
_MIN_COUNT = 2  # of a pair of tokens with its continuation
_MAX_CONTINUATIONS, _MAX_TRANSLATIONS = 12, 8
_PAIR_DISCOUNT, _DISCOUNT = 2.0, 3.0
_MIN_P = 0.05  # of a translation
_RARITY = 0.7  # exponent
_UNSEEN = 1e-4
_COPIED_P = 0.5  # that a source token without translations, such as a part of a name, is copied
_NULL = PAD  # stands for no source token


class Sentences(Protocol):
    """Token ids of sentences, such as `data.store.Sentences`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sequence[int] | np.ndarray: ...


def memory_of(bundle: Bundle) -> DraftMemory | None:
    """Return a bundle's memory, or None if it has none.

    Raises:
        UserError: If its tables do not fit each other or the vocabulary.
    """
    if not bundle.drafts:
        return None
    try:
        memory = DraftMemory(**{name: table.numpy() for name, table in bundle.drafts.items()})
        valid = _is_valid(memory, len(bundle.tokenizer), len(bundle.tokenizer.target))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise UserError(
            "drafts.safetensors does not fit the vocabulary of its bundle. Make it again: `allyouneed drafts RUN TEXT`."
        )
    return memory


def _is_valid(memory: DraftMemory, source_size: int, target_size: int) -> bool:
    """Return whether all types, sizes and indices of tables are right: compiled code reads them without checks."""
    groups = (
        (memory.pair_starts, len(memory.pairs), memory.pair_tokens, memory.pair_p),
        (memory.starts, target_size, memory.tokens, memory.p),
        (memory.translation_starts, source_size, memory.translations, memory.translation_p),
    )
    whole = (memory.pairs, *(each for starts, _, tokens, _ in groups for each in (starts, tokens)))
    factors = (memory.backoff, memory.frequency, memory.rarity)
    fractions = (memory.pair_p, memory.pair_backoff, memory.p, memory.translation_p, *factors)
    return (
        all(each.ndim == 1 for each in memory)
        and all(each.dtype == np.int64 for each in whole)
        and all(each.dtype == np.float32 for each in fractions)
        and all(len(each) == target_size for each in factors)
        and len(memory.pair_backoff) == len(memory.pairs)
        and all(len(starts) == count + 1 for starts, count, _, _ in groups)
        and all(starts[0] == 0 and (np.diff(starts) >= 0).all() for starts, *_ in groups)
        and all(starts[-1] == len(tokens) == len(p) for starts, _, tokens, p in groups)
        and all(((tokens >= 0) & (tokens < target_size)).all() for _, _, tokens, _ in groups)
        and bool((np.diff(memory.pairs) > 0).all())
        and all(np.isfinite(each).all() for each in fractions)
    )


def learn_drafts(tokenizer: AnyTokenizer, sources: Sentences, targets: Sentences) -> DraftMemory:
    """Learn from sentence pairs; from evenly spaced ones if there are very many.

    Args:
        tokenizer: The tokenizer.
        sources: Token ids of each sentence, without the end of sentence.
        targets: Token ids of their translations.
    """
    sizes, number = (len(tokenizer), len(tokenizer.target)), min(len(sources), MAX_PAIRS)
    chosen = np.linspace(0, len(sources) - 1, number).astype(np.int64).tolist()
    inside = [np.array([_NULL, *sources[i][:_MAX_TOKENS]], dtype=np.int64) for i in chosen]
    outside = [np.array([BOS, BOS, *targets[i][:_MAX_TOKENS], EOS], dtype=np.int64) for i in chosen]
    tables = {**_ngrams(outside, sizes[1]), **_translations(inside, outside, sizes, tokenizer.shared)}
    kinds = {"f": np.float32, "i": np.int64}
    return DraftMemory(**{name: table.astype(kinds[table.dtype.kind]) for name, table in tables.items()})


class _Continuations(NamedTuple):
    """Contexts with their continuations, ascending.

    Attributes:
        contexts: [continuations].
        tokens: [continuations].
        counts: [continuations].
        totals: Count of each one's context, [continuations].
        p: Interpolated probabilities, [continuations].
        of_token: Index of the continuation of each token of the text, [text tokens].
    """

    contexts: np.ndarray
    tokens: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    p: np.ndarray
    of_token: np.ndarray


def _ngrams(sentences: Sequence[np.ndarray], vocab_size: int) -> dict[str, np.ndarray]:
    """Estimate the probability of a token after one and after two tokens."""
    before, last, token = (_joined([s[first : len(s) - 2 + first] for s in sentences]) for first in range(3))
    frequency = np.bincount(token, minlength=vocab_size) / max(1, len(token))
    one = _continuations(last, token, vocab_size, frequency[token], _DISCOUNT)
    two = _continuations(before * vocab_size + last, token, vocab_size, one.p[one.of_token], _PAIR_DISCOUNT)
    kept, often = _top(one.contexts, one.p, _MAX_CONTINUATIONS), np.flatnonzero(two.counts >= _MIN_COUNT)
    often = often[_top(two.contexts[often], two.p[often], _MAX_CONTINUATIONS)]
    pairs, first = np.unique(two.contexts[often], return_index=True)
    return {
        "pairs": pairs,
        "pair_starts": np.append(first, len(often)),
        "pair_tokens": two.tokens[often],
        "pair_p": two.p[often],
        "pair_backoff": _PAIR_DISCOUNT / (two.totals[often][first] + _PAIR_DISCOUNT),
        "starts": _starts(one.contexts[kept], vocab_size),
        "tokens": one.tokens[kept],
        "p": one.p[kept],
        "backoff": _DISCOUNT / (np.bincount(last, minlength=vocab_size) + _DISCOUNT),
        "frequency": frequency,
        "rarity": (frequency + _UNSEEN) ** -_RARITY,
    }


def _continuations(
    contexts: np.ndarray, tokens: np.ndarray, vocab_size: int, lower: np.ndarray, discount: float
) -> _Continuations:
    """Count the tokens of a text after their contexts.

    Args:
        contexts: Context of each token, [tokens].
        tokens: The text, [tokens].
        vocab_size: Size of the vocabulary.
        lower: Probability of each token in a shorter context, [tokens].
        discount: Weight of the shorter context, in tokens.
    """
    seen, context = np.unique(contexts, return_inverse=True)
    keys, first, of_token, counts = np.unique(
        context * vocab_size + tokens, return_index=True, return_inverse=True, return_counts=True
    )
    totals = np.bincount(context)[keys // vocab_size]
    p = (counts + discount * lower[first]) / (totals + discount)
    return _Continuations(seen[keys // vocab_size], keys % vocab_size, counts, totals, p, of_token)


def _translations(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], sizes: tuple[int, int], is_shared: bool
) -> dict[str, np.ndarray]:
    """Estimate the probabilities of translations with IBM model 1; is_shared: tokens may be copied."""
    pairs = [(source, target[2:-1]) for source, target in zip(sources, targets, strict=True)]
    per_token = _joined([np.full(len(target), len(source)) for source, target in pairs])
    links = _joined([(source * sizes[1] + target[:, None]).ravel() for source, target in pairs])
    keys, pair = np.unique(links, return_inverse=True)
    starts, source, p = per_token.cumsum() - per_token, keys // sizes[1], np.ones(len(keys))
    for _ in range(_ITERATIONS if len(keys) else 0):
        weights = p[pair]
        weights /= np.repeat(np.add.reduceat(weights, starts), per_token)
        counts = np.bincount(pair, weights, len(keys))
        p = counts / np.bincount(source, counts, sizes[0])[source]
    likely = np.flatnonzero((p >= _MIN_P) & (source != _NULL))
    likely = likely[_top(source[likely], p[likely], _MAX_TRANSLATIONS)]
    copied = np.setdiff1d(np.arange(EOS + 1, sizes[0]), source) if is_shared else np.empty(0, dtype=np.int64)
    source, target = np.append(source[likely], copied), np.append(keys[likely] % sizes[1], copied)
    order = np.argsort(source, kind="stable")
    return {
        "translation_starts": _starts(source, sizes[0]),
        "translations": target[order],
        "translation_p": np.append(p[likely], np.full(len(copied), _COPIED_P))[order],
    }


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=np.int64), *arrays])


def _top(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` largest values of each group, by group and descending value."""
    order = np.lexsort((-values, groups))
    first = np.searchsorted(groups[order], groups[order])
    return order[np.arange(len(order)) - first < count]


def _starts(groups: np.ndarray, count: int) -> np.ndarray:
    """Return the index of the first item of each of `count` groups, and the number of items."""
    return np.append(0, np.bincount(groups, minlength=count).cumsum())
