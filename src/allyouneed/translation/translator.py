"""Text in, text out: the Python API.

translator = Translator.load("RUN")
[translation] = translator.translate(["Ein Hund rennt."], beam_size=4, num_hypotheses=2)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar, Unpack, overload

import numpy as np
import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokenizer import BOS, EOS
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.model.probe import KINDS, AttentionRecorder, Probe
from allyouneed.translation.alignment import Attention, align
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.coverage import covered
from allyouneed.translation.engine.engine import FLOAT32, INT8, Engine, engine_for
from allyouneed.translation.options import ResolvedOptions, SearchOptions, SearchOverrides
from allyouneed.translation.search import NEVER_SAID, Hypothesis, Model, Source, choose
from allyouneed.translation.workers import available_cores, in_turn

Given = TypeVar("Given")
_SENTENCES = re.compile(r".+?(?:[.!?…]\s+|[。！？]\s*|$)", re.DOTALL)
_WORDS = re.compile(r"\S+\s*")
_BATCHES, _FEWEST_TOKENS = 8, 512  # for each worker at least, and of a batch


class _Piece(NamedTuple):
    """A text, or a part of one that is too long: ids with EOS, and what stands between its translation and the next."""

    ids: list[int]
    glue: str


@dataclass(frozen=True)
class Translation:
    """One input's translation. `hypotheses`: texts with scores, best first; `pieces`: parts a long input was cut into.

    score: log probability over the length penalty, a sum where the input was cut; tokens: subwords of the output,
    log_probs: the natural logarithm of each one's probability.
    """

    source: str
    text: str
    score: float
    tokens: list[str]
    log_probs: list[float]
    hypotheses: list[tuple[str, float]]
    pieces: int
    _translator: Translator = field(repr=False, compare=False)

    @cached_property
    def alignment(self) -> list[tuple[int, int]]:
        """Links (i, j) of source and target words, counted from 0 between spaces, from the decoder's attention."""
        return self._translator.align(self.source, self.text)


class Alternative(NamedTuple):
    """token: a subword that may come next (`</s>`: the end), and its log probability; text, score: of the best
    translation that has it there, what was given counting nothing."""

    token: str
    log_probability: float
    text: str
    score: float


class Translator:
    """Translates with a bundle on one device; its weights are not to change any more (else make a new one).

    longest_source: subwords, end included, translated in one piece.
    inter_threads: batches translated at the same time, each by one thread; None: as many as there are cores.
    compute_type: float32, or int8, which is faster and nearly as exact, on CPUs with AVX-512 VNNI. Errors: `UserError`
    where there is none.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | torch.device = "cpu",
        inter_threads: int | None = None,
        compute_type: str = FLOAT32,
    ):
        self.bundle = bundle
        if device == "auto" and compute_type == INT8:  # which exists on CPUs only
            device = "cpu"
        self.device = choose_device(device) if isinstance(device, str) else device
        self.model = bundle.model.to(self.device).eval()
        self.tokenizer = bundle.tokenizer
        self.longest_source = bundle.longest_source
        self.inter_threads = (inter_threads or available_cores()) if self.device.type == "cpu" else 1
        self.compute_type = compute_type
        if compute_type != FLOAT32:
            _ = self.engine  # what cannot be had is said now

    @cached_property
    def engine(self) -> Model:
        """What searches: the model, or where there is one its fast twin."""
        return engine_for(self.model, self.compute_type)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        inter_threads: int | None = None,
        compute_type: str = FLOAT32,
    ) -> Translator:
        """A RUN or a bundle. Errors: `UserError` when it is neither, or is damaged; and those of the class."""
        return cls(load_bundle(Path(path)), device, inter_threads, compute_type)

    @overload  # a str is a Sequence[str] too, so mypy sees an overlap; the first signature wins
    def translate(  # type: ignore[overload-overlap]
        self,
        texts: str,
        options: SearchOptions | None = None,
        *,
        target_prefix: str = "",
        force_words: Sequence[str] = (),
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
        **overrides: Unpack[SearchOverrides],
    ) -> list[Translation]: ...

    def translate(
        self,
        texts: str | Sequence[str],
        options: SearchOptions | None = None,
        *,
        target_prefix: str | Sequence[str] = "",
        force_words: Sequence[str] | Sequence[Sequence[str]] = (),
        **overrides: Unpack[SearchOverrides],
    ) -> Translation | list[Translation]:
        """Translate one text or several.

        A text longer than the model was trained for is split at sentence ends (or spaces), see `Translation.pieces`;
        only its best translation is returned. An empty text gives an empty translation.

        Args:
            texts: One text, or a sequence of texts.
            options: Search options; None stands for the bundle's settings.
            target_prefix: Text that every translation begins with, or a sequence with one prefix for each text.
            force_words: Words and phrases that every translation must contain, or a sequence of them for each text.
            **overrides: Fields of `SearchOptions`, which take precedence over `options`.

        Returns:
            One `Translation` for a string, else a list in the order of the texts.

        Raises:
            UserError: If an option is out of bounds, or options, prefixes or forced words do not fit together.
        """
        if not isinstance(options, SearchOptions | None):
            raise TypeError("options is not a SearchOptions; pass single options by name, for example beam_size=4")
        chosen = (options or SearchOptions()).replace(overrides).resolve(self.bundle.config.search)
        several = [texts] if isinstance(texts, str) else texts
        prefixes = _for_each(target_prefix, len(several)) if isinstance(target_prefix, str) else target_prefix
        shared = [phrase for phrase in force_words if isinstance(phrase, str)]
        phrases = _for_each(shared, len(several)) if shared else force_words
        translations = self._translate_all(several, chosen, prefixes, phrases)
        return translations[0] if isinstance(texts, str) else translations

    def alternatives(
        self, text: str, target_prefix: str = "", num_hypotheses: int = 5, beam_size: int | None = None
    ) -> list[Alternative]:
        """How a translation may go on after `target_prefix`, by the likeliest next subwords, likeliest first.

        Errors: `UserError` for no text, or one that is longer than the model was trained for.
        """
        [pieces] = self._cut_all([text])
        if len(pieces) != 1:
            raise UserError(f"alternatives: give one text of 1 to {self.longest_source - 1} subwords.")
        most = len(self.tokenizer.target) - len(NEVER_SAID)
        if not 1 <= num_hypotheses <= most:
            raise UserError(f"num_hypotheses = {num_hypotheses}: choose 1 to {most}.")
        options = SearchOptions().replace({"beam_size": beam_size}).resolve(self.bundle.config.search)
        said = self.tokenizer.target.encode(target_prefix)
        log_p, words = self._next_words(pieces[0].ids, said, num_hypotheses)
        constraints = Constraints(options, prefixes=[[*said, word] for word in words])
        found = self._search([pieces[0].ids] * len(words), BatchSearch(options, constraints))
        texts = [(self.tokenizer.target.decode(best.ids), best.score) for [best] in found]
        named = zip(self.tokenizer.target.pieces(words), log_p, texts, strict=True)
        return [Alternative(token, value, *text) for token, value, text in named]

    def look(self, text: str, translation: str | None = None, stages: bool = True) -> Attention:
        """Every head's attention for a text and its translation (the model's own unless given), with its stages.

        Errors: `UserError` where one of them is longer than learned positions allow.
        """
        target = self.translate([text])[0].text if translation is None else translation
        source_ids = [*self.tokenizer.encode(text), EOS]
        target_ids = [BOS, *self.tokenizer.target.encode(target)]
        self.refuse_beyond_positions(max(len(source_ids), len(target_ids)), "the text or its translation")
        recorder = AttentionRecorder(stages)
        with torch.inference_mode():
            self.model(pad([source_ids]).to(self.device), pad([target_ids]).to(self.device), Probe((recorder,)))
        layers = (recorder.encoder, recorder.decoder, recorder.cross)
        encoder, decoder, cross = (np.stack([x[0].float().cpu().numpy() for x in kept]) for kept in layers)
        seen = self.tokenizer.target.pieces(target_ids)
        tokens = (self.tokenizer.pieces(source_ids), seen, [*seen[1:], "</s>"])
        inside = {kind: recorder.arrays(kind, 0) for kind in KINDS}
        return Attention(encoder, decoder, cross, *tokens, inside)

    def align(self, source: str, target: str) -> list[tuple[int, int]]:
        """Word links of a text and a translation, from the decoder's attention."""
        return align(self.look(source, target, stages=False)) if source.strip() and target.strip() else []

    def refuse_beyond_positions(self, length: int, what: str) -> None:
        """Errors: `UserError` for so many subwords, start or end included, where fewer positions were learned."""
        limit = self.model.source_embedding.max_positions
        if limit is not None and length > limit:
            raise UserError(
                f"{what} has {length - 1} subwords; this model has learned positions for {limit - 1}. Shorten it."
            )

    def _translate_all(
        self,
        texts: Sequence[str],
        options: ResolvedOptions,
        target_prefix: Sequence[str],
        force_words: Sequence[Sequence[str]],
    ) -> list[Translation]:
        pieces = self._cut_all(texts)
        encode = self.tokenizer.target.encode
        prefixes = [encode(prefix) for prefix in target_prefix]
        phrases = [[encode(phrase) for phrase in each] for each in force_words]
        self._refuse_unfitting("target_prefix", prefixes, pieces)
        self._refuse_unfitting("force_words", phrases, pieces)
        suppressed = tuple(ids for text in options.suppress_sequences if (ids := encode(text)))
        constraints = Constraints(options, suppressed, _of_pieces(prefixes, pieces))
        search = BatchSearch(options, constraints or None, _of_pieces(phrases, pieces))
        found = iter(self._search([piece.ids for cut in pieces for piece in cut], search))
        return [self._joined(text, cut, [next(found) for _ in cut]) for text, cut in zip(texts, pieces, strict=True)]

    def _search(self, sentences: list[list[int]], search: BatchSearch) -> list[list[Hypothesis]]:
        """Longest first, in batches of similar length; the answers in the order of the sentences."""
        lengths = np.array([len(ids) for ids in sentences], dtype=np.int64)
        options = search.options
        workers = self.inter_threads if isinstance(self.engine, Engine) else 1
        room = max(1, options.batch_tokens // options.beam_size)
        if workers > 1:  # batches enough that none waits long for the others at the end
            room = min(room, max(_FEWEST_TOKENS, int(lengths.sum() // (_BATCHES * workers))))
        batches = token_batches(lengths, lengths, room)[::-1]

        def answer(batch: np.ndarray) -> list[list[Hypothesis]]:
            source = pad([sentences[i] for i in batch]).to(self.device)
            return search.run(self.engine, source, lengths[batch], batch)

        found: list[list[Hypothesis]] = [[]] * len(sentences)
        for batch, answers in zip(batches, in_turn(answer, batches, workers), strict=True):
            if options.coverage_penalty:  # here, not where it was found: recording attention is not for several threads
                answers = covered(self.model, [sentences[i] for i in batch], answers, options.coverage_penalty)
            for i, hypotheses in zip(batch, answers, strict=True):
                found[i] = hypotheses[: options.num_hypotheses]
        return found

    @torch.inference_mode()
    def _next_words(self, source: list[int], said: list[int], count: int) -> tuple[list[float], list[int]]:
        """Log probabilities and ids of the likeliest words after what was said."""
        cache, where = self.engine.start(pad([source]).to(self.device)), Source(self.device, None, np.zeros(1, int))
        for word in [BOS, *said]:
            best = choose(self.engine, np.array([[word]]), cache, count, where)
        return best.log_p[0].tolist(), best.words[0].tolist()

    def _joined(self, text: str, cut: list[_Piece], found: list[list[Hypothesis]]) -> Translation:
        """The translation of a text from the answers for its pieces: none, one, or several, of which the best count."""
        best = [answers[0] for answers in found]
        words = self.tokenizer.target
        said = "".join(words.decode(h.ids) + piece.glue for h, piece in zip(best, cut, strict=True)).strip()
        score = sum(hypothesis.score for hypothesis in best)
        tokens = words.pieces([i for hypothesis in best for i in hypothesis.ids])
        hypotheses: list[tuple[str, float]] = [(said, score)] if found else []
        if len(found) == 1:
            hypotheses = [(words.decode(hypothesis.ids), hypothesis.score) for hypothesis in found[0]]
        log_probs = [value for hypothesis in best for value in hypothesis.token_log_p[: len(hypothesis.ids)]]
        return Translation(text, said, score, tokens, log_probs, hypotheses, len(found), self)

    def _refuse_unfitting(self, name: str, of_texts: Sequence[Sequence[object]], pieces: list[list[_Piece]]) -> None:
        """Errors: `UserError` unless there is one for each text, and for a text that had to be cut none."""
        if of_texts and len(of_texts) != len(pieces):
            raise UserError(f"{name}: {len(of_texts)} of them for {len(pieces)} texts; give one for each.")
        if any(each and len(cut) > 1 for each, cut in zip(of_texts, pieces, strict=False)):
            raise UserError(
                f"{name}: a text has more than the {self.longest_source - 1} subwords that this model takes. "
                f"Shorten it, or leave {name} out."
            )

    def _cut_all(self, texts: Sequence[str]) -> list[list[_Piece]]:
        stripped = [text.strip() for text in texts]
        encoded = self.tokenizer.encode_all(stripped)
        return [self._cut(text, ids) for text, ids in zip(stripped, encoded, strict=True)]

    def _cut(self, text: str, ids: list[int]) -> list[_Piece]:
        """The whole text as one piece if it is no longer than what the model was trained for; nothing for no text.

        Else as many sentences as fit, or words where a sentence does not fit, or characters where a word does not.
        """
        room = self.longest_source - 1
        if len(ids) <= room:
            return [_Piece([*ids, EOS], "")] if ids else []
        code, text = self.tokenizer.split_code(text)  # tells the language of every piece
        room -= bool(code)
        pieces, piece = [], ""
        for part in self._parts(text, room, (_SENTENCES.findall, _WORDS.findall, list)):
            if piece and self._length(piece + part) > room:
                pieces.append(piece)
                piece = ""
            piece += part
        return [
            _Piece([*self.tokenizer.encode(code + piece), EOS], " " if piece[-1].isspace() else "")
            for piece in [*pieces, piece]
        ]

    def _parts(self, text: str, room: int, cuts: tuple[Callable[[str], list[str]], ...]) -> Iterator[str]:
        """Parts that fit, as large as the first cut makes them that makes them fit."""
        for part in cuts[0](text):
            if len(cuts) == 1 or self._length(part) <= room:
                yield part
            else:
                yield from self._parts(part, room, cuts[1:])

    def _length(self, text: str) -> int:
        return len(self.tokenizer.encode(text))


def _for_each(value: Given, texts: int) -> list[Given]:
    """The same value for each text; none if it is empty."""
    return [value] * texts if value else []


def _of_pieces(of_texts: Sequence[Given], pieces: list[list[_Piece]]) -> Sequence[Given]:
    """What there is for each text, for each of its pieces; nothing where there is none for any."""
    return [of_texts[i] for i, cut in enumerate(pieces) for _ in cut] if any(of_texts) else ()
