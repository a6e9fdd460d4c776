"""The Python interface to translation.

translator = Translator.load("RUN")
translation = translator.translate("Ein Hund rennt.", beam_size=4, num_hypotheses=2)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import Unpack, overload

import numpy as np
import torch

from allyouneed import kernels
from allyouneed.bundle import Bundle
from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, UNK
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import as_paths
from allyouneed.translation.alignment import Attention, align, attention_of
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.directions import directed, needs_target, refuse_without_code, zero_shot_remark
from allyouneed.translation.draft_memory import memory_of
from allyouneed.translation.engine import FLOAT32, INT8
from allyouneed.translation.ensemble import SearchedModels, check_members, load_members
from allyouneed.translation.inputs import check_inter_threads, check_strings, for_each, for_each_part
from allyouneed.translation.options import ResolvedOptions, SearchOptions, SearchOverrides
from allyouneed.translation.repetition import search_guarded
from allyouneed.translation.results import Alternative, Translation
from allyouneed.translation.search import NEVER_GENERATED, Hypothesis, Model, RowContext, choose
from allyouneed.translation.splitting import TextPart, TextSplitter
from allyouneed.translation.workers import available_cores


class Translator:
    """A translator that uses a bundle on one device. The bundle's weights must not change afterwards.

    Args:
        bundle: Model, tokenizer and settings.
        device: "cpu", "cuda" or "auto" (CUDA if there is a GPU, unless `compute_type` is int8), or a PyTorch device.
        inter_threads: Number of batches translated in parallel on the CPU, one thread each. Default: one per core.
        compute_type: "float32", or "int8", which is faster and nearly as accurate, but needs a CPU with AVX-512 VNNI.
        others: Further models of the same languages and vocabulary. Their predictions are averaged with those of
            `bundle` (an ensemble); its settings are used, and attention and word alignment are its own.
        few_tokens: Number of source tokens that PyTorch translates, before the compiled engine is loaded. Loading takes
            longer than to translate a sentence; the result is the same up to rounding.

    Attributes:
        models: The model, and the other models of an ensemble.
        longest_source: Maximum number of source tokens translated as one part, the end of sentence included.
        remark: What to know about its direction, see `into`; None for nothing.

    Raises:
        TypeError: If `inter_threads` is not an integer.
        UserError: If there is no such device or compute type on this machine, `inter_threads` is less than 1, or the
            languages or vocabularies of an ensemble differ.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | torch.device = "cpu",
        inter_threads: int | None = None,
        compute_type: str = FLOAT32,
        others: Sequence[Bundle] = (),
        few_tokens: int = 0,
    ):
        check_inter_threads(inter_threads)
        check_members([bundle, *others])
        self.bundle = bundle
        self.remark: str | None = None
        if device == "auto" and compute_type == INT8:  # int8 exists on CPUs only
            device = "cpu"
        self.device = device if isinstance(device, torch.device) else choose_device(device)
        self.models = [each.model.to(self.device).eval() for each in (bundle, *others)]
        self.model = self.models[0]
        self.tokenizer = bundle.tokenizer
        self.longest_source = min(each.longest_source for each in (bundle, *others))
        self.inter_threads = (inter_threads or available_cores()) if self.device.type == "cpu" else 1
        self.compute_type, self._few_tokens = compute_type, few_tokens
        if compute_type != FLOAT32:
            _ = self.engine  # raises an error now if this machine lacks the compute type

    def __repr__(self) -> str:
        models = f"ensemble of {len(self.models)}, " if len(self.models) > 1 else ""
        size = self.bundle.described()
        return f"Translator({self.bundle.title}, {models}{size}, {self.compute_type} on {self.device})"

    def __getstate__(self) -> dict[str, object]:
        """Omit the compiled engine, which holds memory addresses; a copy makes its own engine."""
        return {name: value for name, value in vars(self).items() if name != "_searched"}

    @property
    def engine(self) -> Model:
        """What is searched: the compiled engine if it supports the model, else the model; or an ensemble of them.

        It changes when kernels that were compiled in the background become available, see `kernels/background.py`.
        """
        return self._searched.current()

    def wait_for_kernels(self, announce: Callable[[], None]) -> None:
        """Let long translations wait for kernels that are compiled in the background, without which they are slow.

        Args:
            announce: Called before each wait.
        """
        self._searched.on_wait = announce

    @property
    def positions(self) -> int | None:
        """Number of learned positions; None if there is no limit."""
        return self.bundle.config.model.learned_positions

    @cached_property
    def _searched(self) -> SearchedModels:
        memory = memory_of(self.bundle)
        return SearchedModels(self.models, self.compute_type, self._few_tokens, memory)

    @cached_property
    def splitter(self) -> TextSplitter:
        """Splits texts that are longer than `longest_source`."""
        return TextSplitter(self.tokenizer, self.longest_source)

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path],
        device: str | torch.device = "cpu",
        inter_threads: int | None = None,
        compute_type: str = FLOAT32,
        target: str | None = None,
        source: str | None = None,
        few_tokens: int = 0,
    ) -> Translator:
        """Load a RUN or a bundle, or several as an ensemble, whose predictions are averaged.

        Args:
            path: A RUN or a bundle, or a sequence of them with one vocabulary.
            device: See the class.
            inter_threads: See the class.
            compute_type: See the class.
            target: Target language, if the model is multilingual; see `into`.
            source: Source language.
            few_tokens: See the class.

        Raises:
            UserError: If there is no bundle at the path, the bundle is damaged, the machine lacks the device or the
                compute type, the model does not have the languages, or the vocabularies of an ensemble differ.
        """
        bundle, *others = load_members(as_paths(path))
        translator = cls(bundle, device, inter_threads, compute_type, others, few_tokens)
        if target is None and source is None and needs_target(translator.bundle):
            return translator
        return translator.into(target, source)

    def into(self, target: str | None = None, source: str | None = None) -> Translator:
        """Return a translator of one direction of a multilingual model, which shares the weights.

        Args:
            target: Target language; None if there is only one.
            source: Source language, which matters only for messages and for the splitting of text into sentences.

        Raises:
            UserError: If the model does not have the languages.
        """
        bundle = directed(self.bundle, target, source)
        if bundle is self.bundle:
            return self
        translator = object.__new__(type(self))
        _ = self._searched
        vars(translator).update(vars(self))  # unlike a copy, it shares the compiled engine
        translator.remark = zero_shot_remark(self.bundle, bundle.languages)
        translator.bundle, translator.tokenizer = bundle, bundle.tokenizer
        vars(translator).pop("splitter", None)
        return translator

    def each_direction(self) -> list[Translator]:
        """Return a translator for each direction of a multilingual model; this one for a model of one direction."""
        return [self.into(target, source) for source, target in self.bundle.directions] or [self]

    @overload  # a str is a Sequence[str] too, so mypy sees an overlap; the first signature wins
    def translate(  # type: ignore[overload-overlap]
        self,
        texts: str,
        options: SearchOptions | None = None,
        *,
        target_prefix: str = "",
        force_words: Sequence[str] = (),
        target: str | None = None,
        **overrides: Unpack[SearchOverrides],
    ) -> Translation: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        options: SearchOptions | None = None,
        *,
        target_prefix: str | Sequence[str] = "",
        force_words: Sequence[str] | Sequence[Sequence[str]] = (),
        target: str | None = None,
        **overrides: Unpack[SearchOverrides],
    ) -> list[Translation]: ...

    def translate(
        self,
        texts: str | Sequence[str],
        options: SearchOptions | None = None,
        *,
        target_prefix: str | Sequence[str] = "",
        force_words: Sequence[str] | Sequence[Sequence[str]] = (),
        target: str | None = None,
        **overrides: Unpack[SearchOverrides],
    ) -> Translation | list[Translation]:
        """Translate one text or several.

        A text that is too long for the model is split at sentence ends or spaces (see `Translation.pieces`), and only
        its best translation is returned. An empty text gives an empty translation.

        Args:
            texts: One text, or a sequence of texts.
            options: Search options; None means the bundle's settings.
            target_prefix: Text that every translation begins with, or a sequence with one prefix per text.
            force_words: Words and phrases that every translation must contain, or a sequence with one such list per
                text.
            target: Target language of a multilingual model.
            **overrides: Fields of `SearchOptions`, which take precedence over `options`.

        Returns:
            One `Translation` for a string, else a list in the order of the texts.

        Raises:
            TypeError: If a text is not a string, or an option is unknown.
            UserError: If an option is out of bounds, options, prefixes or forced words conflict, or a text contains an
                unpaired surrogate.
        """
        if target is not None:
            self = self.into(target)
        if not isinstance(options, SearchOptions | None):
            raise TypeError("options is not a SearchOptions; pass single options by name, for example beam_size=4")
        chosen = (options or SearchOptions()).replace(overrides).resolve(self.bundle.config.search)
        if not isinstance(texts, Sized) or isinstance(texts, bytes):
            raise TypeError(f"texts must be a string or a sequence of strings: {type(texts).__name__}")
        several = [texts] if isinstance(texts, str) else texts
        prefixes = for_each(target_prefix, len(several)) if isinstance(target_prefix, str) else target_prefix
        words = [force_words] if isinstance(force_words, str) else force_words
        shared = [phrase for phrase in words if isinstance(phrase, str)]
        phrases = for_each(shared, len(several)) if shared else words
        translations = self._translate_all(several, chosen, prefixes, phrases)
        return translations[0] if isinstance(texts, str) else translations

    def alternatives(
        self, text: str, target_prefix: str = "", num_hypotheses: int = 5, beam_size: int | None = None
    ) -> list[Alternative]:
        """Find alternative continuations of a translation after `target_prefix`.

        Args:
            text: A text that is short enough not to be split.
            target_prefix: Beginning of the translation.
            num_hypotheses: Number of alternatives, each with a different next token.
            beam_size: Beam size for the rest of each translation. Default: the bundle's.

        Returns:
            Alternatives, sorted by the probability of their next token.

        Raises:
            UserError: If the text is empty or too long, or a number is out of bounds.
        """
        check_strings("text and target_prefix", [text, target_prefix])
        refuse_without_code(self.bundle, [text])
        [parts] = self.splitter.split([text])
        if len(parts) != 1:
            raise UserError(f"alternatives: give one text of 1 to {self.longest_source - 1} tokens.")
        limit = len(self.tokenizer.target) - len(NEVER_GENERATED)
        if not 1 <= num_hypotheses <= limit:
            raise UserError(f"num_hypotheses = {num_hypotheses}: choose 1 to {limit}.")
        options = SearchOptions().replace({"beam_size": beam_size}).resolve(self.bundle.config.search)
        prefix = self._encode_given("target_prefix", target_prefix)
        log_p, tokens = self._next_tokens(parts[0].ids, prefix, num_hypotheses)
        constraints = Constraints(options, prefixes=[[*prefix, token] for token in tokens])
        found = self._search(
            [parts[0].ids] * len(tokens),
            BatchSearch(options, constraints, (), self.positions),
        )
        texts = [(self.tokenizer.target.decode(best.ids), best.score) for [best] in found]
        named = zip(self.tokenizer.target.pieces(tokens), log_p, texts, strict=True)
        return [Alternative(token, value, *text) for token, value, text in named]

    def look(self, text: str, translation: str | None = None, stages: bool = True) -> Attention:
        """Compute the attention of every head for a text and its translation.

        Args:
            text: The source text.
            translation: The translation. Default: the model's own translation.
            stages: Whether to also return the intermediate results of each layer.

        Raises:
            UserError: If one of the texts is longer than the model's learned positions, or than memory allows.
        """
        refuse_without_code(self.bundle, [text])
        target = self.translate([text])[0].text if translation is None else translation
        return attention_of(self, text, target, stages)

    def align(self, source: str, target: str) -> list[tuple[int, int]]:
        """Align the words of a text and a translation by the decoder's attention; see `alignment.align`."""
        if not (source.strip() and target.strip()):
            return []
        links = align(self.look(source, target, stages=False))
        if self.tokenizer.code and not self.tokenizer.has_code(source):  # it was added, as the first word
            links = [(i - 1, j) for i, j in links if i > 0]
        return links

    def refuse_beyond_positions(self, length: int, what: str) -> None:
        """Raise `UserError` if `length` tokens, start or end of sentence included, exceed the learned positions."""
        limit = self.positions
        if limit is not None and length > limit:
            raise UserError(
                f"{what} has {length - 1} tokens; this model has learned positions for {limit - 1}. Shorten it."
            )

    def _translate_all(
        self,
        texts: Sequence[str],
        options: ResolvedOptions,
        target_prefix: Sequence[str],
        force_words: Sequence[Sequence[str]],
    ) -> list[Translation]:
        check_strings("texts", texts)
        refuse_without_code(self.bundle, texts)
        check_strings("target_prefix", target_prefix)
        check_strings("force_words", (phrase for each in force_words for phrase in each))
        parts = self.splitter.split(texts)
        encode = self.tokenizer.target.encode
        prefixes = [self._encode_given("target_prefix", prefix) for prefix in target_prefix]
        phrases = [[self._encode_given("force_words (--force)", phrase) for phrase in each] for each in force_words]
        self._check_inputs("target_prefix", prefixes, parts)
        self._check_inputs("force_words", phrases, parts)
        suppressed = tuple(ids for text in options.suppress_sequences if (ids := encode(text)))
        constraints = Constraints(options, suppressed, for_each_part(prefixes, parts))
        search = BatchSearch(options, constraints or None, for_each_part(phrases, parts), self.positions)
        guarded = search_guarded([part.ids for split in parts for part in split], search, self._search)
        found = zip(*guarded, strict=True)
        return [self._join(text, split, [next(found) for _ in split]) for text, split in zip(texts, parts, strict=True)]

    def _encode_given(self, name: str, text: str) -> list[int]:
        """Encode text that translations must contain, unless the vocabulary lacks a token: none is generated for it."""
        ids = self.tokenizer.target.encode(text)
        if UNK in ids:
            raise UserError(
                f"{name}: {text} has a token that is not in the model's vocabulary, so no translation can contain it."
            )
        return ids

    def _search(self, sentences: list[list[int]], search: BatchSearch) -> list[list[Hypothesis]]:
        self._searched.expect(sum(map(len, sentences)))
        is_compiled = hasattr(self.engine, "beam_search")
        workers = self.inter_threads if is_compiled or kernels.background.pending() else 1
        return search.run_all(self.model, self._searched.current, sentences, self.device, workers)

    @torch.inference_mode()
    def _next_tokens(self, source: list[int], prefix: list[int], count: int) -> tuple[list[float], list[int]]:
        """Return log probabilities and ids of the most likely tokens after a prefix."""
        engine = self.engine
        cache = engine.start(pad([source]).to(self.device))
        context = RowContext(self.device, None, np.zeros(1, int))
        for token in [BOS, *prefix]:
            best = choose(engine, np.array([[token]]), cache, count, context)
        return best.log_p[0].tolist(), best.tokens[0].tolist()

    def _join(self, text: str, parts: list[TextPart], results: list[tuple[list[Hypothesis], str]]) -> Translation:
        """Make a text's translation from the results of its parts; with several parts, only the best are used."""
        found = [hypotheses for hypotheses, _ in results]
        best = [hypotheses[0] for hypotheses in found]
        tokenizer = self.tokenizer.target
        decoded = [tokenizer.decode(one.ids) for one in best]
        translation = "".join(text + part.separator for text, part in zip(decoded, parts, strict=True)).strip()
        score = sum(hypothesis.score for hypothesis in best)
        tokens = tokenizer.pieces([i for hypothesis in best for i in hypothesis.ids])
        hypotheses: list[tuple[str, float]] = [(translation, score)] if found else []
        if len(found) == 1:
            others = ((tokenizer.decode(one.ids), one.score) for one in found[0][1:])
            hypotheses = [(decoded[0], best[0].score), *others]
        log_probs = [value for hypothesis in best for value in hypothesis.token_log_p[: len(hypothesis.ids)]]
        problems = tuple(dict.fromkeys(problem for _, problem in results if problem))
        return Translation(text, translation, score, tokens, log_probs, hypotheses, len(found), self, problems)

    def _check_inputs(self, name: str, values: Sequence[Sequence[object]], parts: list[list[TextPart]]) -> None:
        """Raise `UserError` unless there is one value per text, and none for a text that was split."""
        if values and len(values) != len(parts):
            raise UserError(f"{name}: got {len(values)} for {len(parts)} texts; give one per text.")
        if any(value and len(split) > 1 for value, split in zip(values, parts, strict=False)):
            raise UserError(
                f"{name}: a text has more than the {self.longest_source - 1} tokens that this model takes. "
                f"Shorten it, or remove {name}."
            )
