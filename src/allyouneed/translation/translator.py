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
from typing import NamedTuple

import numpy as np
import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import SearchConfig
from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokenizer import BOS, EOS
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.model.recorder import record_attention
from allyouneed.translation.alignment import Attention, align
from allyouneed.translation.constraints import Rules
from allyouneed.translation.engine import Engine, engine_for
from allyouneed.translation.sampling import Sampling
from allyouneed.translation.search import NEVER_SAID, Hypothesis, Model, Source, beam_search, choose, greedy
from allyouneed.translation.workers import available_cores, in_turn

_SENTENCES = re.compile(r".+?(?:[.!?…]\s+|[。！？]\s*|$)", re.DOTALL)
_WORDS = re.compile(r"\S+\s*")


class _Piece(NamedTuple):
    """A text, or a part of one that is too long: ids with EOS, and what stands between its translation and the next."""

    ids: list[int]
    glue: str


class _Wanted(NamedTuple):
    search: SearchConfig
    num_hypotheses: int
    scores: bool
    max_decoding_length: int | None
    rules: Rules | None


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
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu", inter_threads: int | None = None):
        self.bundle = bundle
        self.device = choose_device(device) if isinstance(device, str) else device
        self.model = bundle.model.to(self.device).eval()
        self.tokenizer = bundle.tokenizer
        self.longest_source = bundle.longest_source
        self.inter_threads = (inter_threads or available_cores()) if self.device.type == "cpu" else 1

    @cached_property
    def engine(self) -> Model:
        """What searches: the model, or where there is one its fast twin."""
        return engine_for(self.model)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", inter_threads: int | None = None) -> Translator:
        """A RUN or a bundle. Errors: `UserError` when it is neither, or is damaged."""
        return cls(load_bundle(Path(path)), device, inter_threads)

    def translate(
        self,
        texts: Sequence[str],
        beam_size: int | None = None,
        num_hypotheses: int = 1,
        length_penalty: float | None = None,
        max_extra_length: int | None = None,
        batch_tokens: int | None = None,
        return_scores: bool = True,
        min_decoding_length: int = 0,
        max_decoding_length: int | None = None,
        no_repeat_ngram_size: int = 0,
        repetition_penalty: float = 1.0,
        suppress_sequences: Sequence[str] = (),
        target_prefix: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[Translation]:
        """One translation for each text, in order; an empty text gives an empty one. None: the bundle's own setting.

        A text longer than the model was trained for is cut at sentence ends (or spaces), and `pieces` says so; of cut
        texts only the best hypothesis is given. Without `return_scores` scores of greedy search are nan, and it takes
        less time. max_decoding_length: subwords at most; sampling: with beam_size = 1. What else there is are the
        rules of `constraints.py`, in text: `suppress_sequences` never come up, `target_prefix`, one for each text, is
        what its translation begins with (of a text that need not be cut). Errors: `UserError` for an impossible number.
        """
        settings = {
            "beam_size": beam_size,
            "length_penalty": length_penalty,
            "max_extra_length": max_extra_length,
            "batch_tokens": batch_tokens,
        }
        search = self.bundle.config.override(
            f"search.{name}={value}" for name, value in settings.items() if value is not None
        ).search
        if not 1 <= num_hypotheses <= search.beam_size:
            raise UserError(f"num_hypotheses = {num_hypotheses}: choose 1 to beam_size = {search.beam_size}.")
        if isinstance(texts, str):
            raise TypeError("translate takes a list of texts, not one text")
        pieces = [self._cut(text) for text in texts]
        if target_prefix and len(target_prefix) != len(texts):
            raise UserError(f"target_prefix: {len(target_prefix)} of them for {len(texts)} texts; give one for each.")
        if sampling is not None and not (sampling.temperature > 0 and 0 < sampling.topp <= 1 and sampling.topk >= 0):
            raise UserError("sampling: the temperature is above 0, topp above 0 and at most 1, topk at least 0.")
        if not 0 < repetition_penalty < np.inf:
            raise UserError(f"repetition_penalty = {repetition_penalty:g}: choose a number above 0; 1 is none.")
        if sampling is not None and search.beam_size != 1:
            raise UserError(f"sampling with beam_size = {search.beam_size}: words are drawn one by one; set it to 1.")
        if max_decoding_length is not None and max_decoding_length < max(1, min_decoding_length):
            raise UserError(
                f"max_decoding_length = {max_decoding_length}: choose at least 1, and no less than min_decoding_length "
                f"= {min_decoding_length}."
            )
        encode = self.tokenizer.target.encode
        prefixes = [encode(prefix) for prefix in target_prefix]
        if any(prefix and len(cut) > 1 for prefix, cut in zip(prefixes, pieces, strict=False)):
            raise UserError(
                f"target_prefix: a text has more than the {self.longest_source - 1} subwords that this model takes. "
                "Shorten it, or leave the prefix out."
            )
        rules = Rules(
            min_decoding_length,
            no_repeat_ngram_size,
            repetition_penalty,
            tuple(ids for text in suppress_sequences if (ids := encode(text))),
            [prefixes[i] for i, cut in enumerate(pieces) for _ in cut] if any(prefixes) else (),
            sampling,
        )
        wanted = _Wanted(
            search, num_hypotheses, return_scores, max_decoding_length, None if rules == Rules() else rules
        )
        found = iter(self._search([piece.ids for cut in pieces for piece in cut], wanted))
        return [self._joined(text, cut, [next(found) for _ in cut]) for text, cut in zip(texts, pieces, strict=True)]

    def alternatives(
        self, text: str, target_prefix: str = "", num_hypotheses: int = 5, beam_size: int | None = None
    ) -> list[Alternative]:
        """How a translation may go on after `target_prefix`, by the likeliest next subwords, likeliest first.

        Errors: `UserError` for no text, or one that is longer than the model was trained for.
        """
        pieces = self._cut(text)
        if len(pieces) != 1:
            raise UserError(f"alternatives: give one text of 1 to {self.longest_source - 1} subwords.")
        most = len(self.tokenizer.target) - len(NEVER_SAID)
        if not 1 <= num_hypotheses <= most:
            raise UserError(f"num_hypotheses = {num_hypotheses}: choose 1 to {most}.")
        settings = [] if beam_size is None else [f"search.beam_size={beam_size}"]
        search, said = self.bundle.config.override(settings).search, self.tokenizer.target.encode(target_prefix)
        log_p, words = self._next_words(pieces[0].ids, said, num_hypotheses)
        rules = Rules(target_prefix=[[*said, word] for word in words])
        found = self._search([pieces[0].ids] * len(words), _Wanted(search, 1, True, None, rules))
        texts = [(self.tokenizer.target.decode(best.ids), best.score) for [best] in found]
        named = zip(self.tokenizer.target.pieces(words), log_p, texts, strict=True)
        return [Alternative(token, value, *text) for token, value, text in named]

    def look(self, text: str, translation: str | None = None, stages: bool = True) -> Attention:
        """Every head's attention for a text and its translation (the model's own unless given), with its stages."""
        target = self.translate([text])[0].text if translation is None else translation
        source_ids = [*self.tokenizer.encode(text), EOS]
        target_ids = [BOS, *self.tokenizer.target.encode(target)]
        with torch.inference_mode(), record_attention(self.model, stages) as recorded:
            self.model(*(pad([ids]).to(self.device) for ids in (source_ids, target_ids)))
        layers = (recorded.encoder, recorded.decoder, recorded.cross)
        arrays = (np.stack([weights[0].float().cpu().numpy() for weights in kept]) for kept in layers)
        seen = self.tokenizer.target.pieces(target_ids)
        tokens = (self.tokenizer.pieces(source_ids), seen, [*seen[1:], "</s>"])
        inside = {kind: [each.of_sentence(0) for each in kept] for kind, kept in recorded.stages.items()}
        return Attention(*arrays, *tokens, inside)

    def align(self, source: str, target: str) -> list[tuple[int, int]]:
        """Word links of a text and a translation, from the decoder's attention."""
        return align(self.look(source, target, stages=False)) if source.strip() and target.strip() else []

    def _search(self, sentences: list[list[int]], wanted: _Wanted) -> list[list[Hypothesis]]:
        """Longest first, in batches of similar length; the answers in the order of the sentences."""
        lengths = np.array([len(ids) for ids in sentences], dtype=np.int64)
        search = wanted.search
        room = max(1, search.batch_tokens // search.beam_size)
        batches = token_batches(lengths, lengths, room)[::-1]

        def answer(batch: np.ndarray) -> list[list[Hypothesis]]:
            source = pad([sentences[i] for i in batch]).to(self.device)
            longest = lengths[batch] - 1 + search.max_extra_length
            if wanted.max_decoding_length is not None:
                longest = np.minimum(longest, wanted.max_decoding_length)
            rules = wanted.rules and wanted.rules.of(batch)
            if rules:  # what has to be said is said, however long
                longest = np.maximum(longest, rules.shortest(len(batch)))
            longest = longest.tolist()
            given = (self.engine, source, longest)
            if search.beam_size == 1:
                return [[best] for best in greedy(*given, search.length_penalty, wanted.scores, rules)]
            return beam_search(*given, search.beam_size, search.length_penalty, wanted.num_hypotheses, rules)

        found: list[list[Hypothesis]] = [[]] * len(sentences)
        workers = self.inter_threads if isinstance(self.engine, Engine) else 1
        for batch, answers in zip(batches, in_turn(answer, batches, workers), strict=True):
            for i, hypotheses in zip(batch, answers, strict=True):
                found[i] = hypotheses
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
        hypotheses = [(said, score)] if found else []
        if len(found) == 1:
            hypotheses = [(words.decode(hypothesis.ids), hypothesis.score) for hypothesis in found[0]]
        log_probs = [value for hypothesis in best for value in hypothesis.token_log_p[: len(hypothesis.ids)]]
        return Translation(text, said, score, tokens, log_probs, hypotheses, len(found), self)

    def _cut(self, text: str) -> list[_Piece]:
        """The whole text as one piece if it is no longer than what the model was trained for; nothing for no text.

        Else as many sentences as fit, or words where a sentence does not fit, or characters where a word does not.
        """
        text, room = text.strip(), self.longest_source - 1
        ids = self.tokenizer.encode(text)
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
