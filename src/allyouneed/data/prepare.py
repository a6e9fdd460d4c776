"""Data preparation: from text files to a tokenizer and token ids on disk, with a report of dropped pairs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TypeAlias

from allyouneed.config import DataConfig
from allyouneed.data.block_files import StoredBlocks, origin_of_blocks
from allyouneed.data.blocks import PreparedBlock, in_blocks, prepare_block, usable_text
from allyouneed.data.cleaning.block import CleaningRules
from allyouneed.data.cleaning.listing import Listing, open_listing
from allyouneed.data.cleaning.registry import chosen_checks
from allyouneed.data.corpora import Corpus, common_tag, directions_of, located, with_copies
from allyouneed.data.corpus import CorpusReport, PairChecks
from allyouneed.data.corpus_encoder import CorpusEncoder, PrepareBlocks
from allyouneed.data.directions import code_of, targets_of
from allyouneed.data.duplicates import SeenBands, SeenPairs
from allyouneed.data.files.formats import RawPair, reading_notes
from allyouneed.data.held_out import HeldOut, held_out_strides
from allyouneed.data.inspection.inspect_text import inspect_text
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.prepared import PreparedData, contents_of, origin_of
from allyouneed.data.store import write_store
from allyouneed.data.tokens.text_counts import TextCounts
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.data.tokens.tokenizer_training import describe_size, learn_from_counts
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.data.workers import Workers, usable_cores
from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.progress import RateLines

_MANY_PAIRS = 50_000  # from which worker processes are faster than one process
_TOKENIZER_PAIRS = 1_000_000  # pairs at most, distributed over the corpus, on which the tokenizer is trained
Rules: TypeAlias = Sequence[tuple[Corpus, CleaningRules]]
Engine: TypeAlias = Callable[
    [Callable[[list[RawPair]], PreparedBlock], Iterable[list[RawPair]]], Iterator[PreparedBlock]
]


def prepare(
    folder: Path,
    train: Sequence[Corpus],
    valid: Sequence[Corpus] | None,
    data: DataConfig,
    say: Callable[[str], None],
    tokenizer: AnyTokenizer | None = None,
    adjustable: bool = False,
    languages: tuple[str, str] | None = None,
    engine: Engine | None = None,
    checksum: Callable[[Path], str] = sha256,
) -> PreparedData:
    """Train a tokenizer, encode the text and write it to `folder`, unless this has been done before.

    The training corpora form one store, in their order. A pair that an earlier corpus has is dropped. If a large text
    was being prepared when the program was ended, the blocks that are finished are used again.

    Args:
        folder: Destination, a RUN's `data` folder.
        train: The training text.
        valid: The validation text. If None, about 1,000 pairs of the first training corpus, or of the first corpora of
            all directions, are held out, selected by a hash of the source, so that pairs with equal sources are not
            separated.
        data: Settings.
        say: Receives progress messages.
        tokenizer: An existing tokenizer, for further training of a model.
        adjustable: Whether `data.vocab_size` may be raised if it leaves too little room beside the text's characters.
        languages: Codes of source and target, by which a header selects the columns of a file, and the text is
            inspected.
        engine: Applies `prepare_block` to blocks of pairs and yields the results in the same order, for example on
            other machines. Default: worker processes, one per core.
        checksum: Returns the SHA-256 of a file of text.

    Returns:
        The prepared data.

    Raises:
        UserError: If no usable pairs remain for training or validation, the text has another encoding or is not
            parallel (see `inspection.py`), or the folder cannot be written.
    """
    prepared = PreparedData(folder)
    if prepared.is_complete:
        return prepared
    origin, contents = origin_of(train, valid, data, languages), contents_of([*train, *(valid or ())], checksum)
    train, valid = (located(corpora, data.columns, languages) for corpora in (train, valid or ()))
    for note in dict.fromkeys(note for each in (*train, *valid) for note in reading_notes(each.paths, each.columns)):
        say(note)
    train, counts = with_copies(train, folder, say)
    valid, _ = with_copies(valid, folder, say)
    held_out = HeldOut({} if valid else held_out_strides(train, counts))
    chosen_checks(data.cleaning)  # a missing library is reported before the text is read
    inspection = inspect_text(train, valid, counts, data, languages or ("und", "und"), say)
    rules = list(zip(train, inspection.rules, strict=True))
    symbols = _symbols(train, data, tokenizer, say)
    if tokenizer is None:
        say(f"training the tokenizer: {data.vocab_size:,} {'words' if data.subwords == 'word' else 'subwords'} ...")
        every = max(1, ceil(sum(counts) / _TOKENIZER_PAIRS))
        progress = RateLines(say, "reading text for the tokenizer", sum(counts), "pairs")
        text = _tokenizer_text(rules, data, held_out, every, progress)
        tokenizer = _learn_tokenizer(text, data, train, symbols, adjustable)
        for line in describe_size(tokenizer, data.vocab_size):
            say(line)
    with open_listing(prepared.dropped, prepared.repaired) as listing:
        encoding = _Encoding(prepared, data, tokenizer, listing, say, engine)
        reports = {"train": encoding.train(rules, counts, held_out, inspection.overlap)}
        reports["valid"], texts = encoding.valid(valid, held_out, dict(rules))
    if not valid:
        names = dict.fromkeys(corpus.names for corpus in held_out.strides)
        where = f" of {'; '.join(names)}" if len(train) > 1 else ""
        say(f"no --valid given: {len(texts):,} training pairs{where} are held out for validation")
    for part, found in (("train", inspection.train), ("valid", inspection.valid)):
        for report, findings in zip(reports[part], found, strict=False):
            report.findings = [finding.as_dict() for finding in findings]
    prepared.finish(tokenizer, texts, reports, origin, contents)
    return prepared


class _Encoding:
    """Writes the stores of the training and the validation text."""

    def __init__(
        self,
        prepared: PreparedData,
        data: DataConfig,
        tokenizer: AnyTokenizer,
        listing: Listing,
        say: Callable[[str], None],
        engine: Engine | None,
    ):
        self.prepared, self.data, self.tokenizer = prepared, data, tokenizer
        self.listing, self.say, self.engine = listing, say, engine
        self.keeps_duplicates = "duplicates" not in chosen_checks(data.cleaning)

    def train(
        self, rules: Rules, counts: Sequence[int], held_out: HeldOut, overlap: ValidationOverlap
    ) -> list[CorpusReport]:
        """Encode the training text, without the pairs that are held out or that an earlier corpus has."""
        seen, near = None if self.keeps_duplicates else SeenPairs(), SeenBands()
        progress = RateLines(self.say, "preparing the text", sum(counts), "pairs")
        encoders: list[CorpusEncoder] = []

        def blocks() -> Generator[tuple[TokenIds, TokenIds]]:
            for (corpus, of_corpus), size in zip(rules, counts, strict=True):
                if encoders and seen:
                    seen.next_corpus()
                with self._preparing(size, of_corpus, overlap if self.data.drop_overlap else None) as prepare_blocks:
                    encoders.append(encoder := CorpusEncoder(corpus, prepare_blocks, self.listing, seen, near))
                    pairs = progress.counted(corpus.pairs())
                    yield from encoder.encoded(_trained_on(pairs, encoder, held_out))

        with closing(blocks()) as encoded:
            write_store(self.prepared.train, encoded)
        for encoder in encoders:
            encoder.report.check_usable()
        if any(sum(encoder.unknown) for encoder in encoders):
            self.say(_describe_unknown(encoders))
        return [encoder.report for encoder in encoders]

    def valid(
        self, corpora: Sequence[Corpus], held_out: HeldOut, rules: dict[Corpus, CleaningRules]
    ) -> tuple[list[CorpusReport], list[tuple[str, str]]]:
        """Encode the validation text as it is, or the pairs that are held out; returns its reports and its texts."""
        texts: list[tuple[str, str]] = []
        encoders = [
            CorpusEncoder(
                corpus,
                partial(map, self._prepare_block(CleaningRules() if corpora else rules[corpus])),
                self.listing,
                None if corpora or self.keeps_duplicates else SeenPairs(),
            )
            for corpus in corpora or held_out.strides
        ]

        def blocks() -> Iterator[tuple[TokenIds, TokenIds]]:
            for encoder in encoders:
                pairs = encoder.corpus.pairs()
                yield from encoder.encoded(pairs if corpora else filter(held_out.choice(encoder.corpus), pairs), texts)

        write_store(self.prepared.valid, blocks())
        if not corpora and not all(encoder.report.kept for encoder in encoders):
            raise UserError(
                f"{', '.join(map(str, held_out.strides))}: too few pairs to hold out some of them for validation. "
                "Give a validation set: --valid SOURCE TARGET."
            )
        for encoder in encoders:
            encoder.report.check_usable()
        return [encoder.report for encoder in encoders], texts

    @contextmanager
    def _preparing(
        self, pairs: int, rules: CleaningRules, excluded: ValidationOverlap | None
    ) -> Iterator[PrepareBlocks]:
        """Provide a function that prepares the blocks of a corpus: with the engine, or on all cores if it is large."""
        function = self._prepare_block(rules, excluded)
        if self.engine:
            yield partial(self.engine, function)
            return
        is_large = pairs >= _MANY_PAIRS
        processes = usable_cores() if is_large else 1
        self.say(f"preparing the text: {pairs:,} pairs{f' in {processes} processes' if processes > 1 else ''} ...")
        if is_large:
            if finished := sum(1 for _ in self.prepared.blocks.glob("*.npz")):
                self.say(f"preparing the text: {finished:,} blocks were finished before, and are used again")
            origin = origin_of_blocks(self.data, self.tokenizer, excluded, rules)
            function = StoredBlocks(function, self.prepared.blocks, origin)
        with Workers(function, processes) as workers:
            yield workers.map

    def _prepare_block(
        self, rules: CleaningRules, excluded: ValidationOverlap | None = None
    ) -> Callable[[list[RawPair]], PreparedBlock]:
        return partial(prepare_block, data=self.data, tokenizer=self.tokenizer, excluded=excluded, rules=rules)


def _trained_on(pairs: Iterator[RawPair], encoder: CorpusEncoder, held_out: HeldOut) -> Iterator[RawPair]:
    """Yield the pairs that are not held out; pairs whose source is held out of another corpus are dropped."""
    if not held_out.strides:
        yield from pairs
        return
    is_chosen, leaks = held_out.choice(encoder.corpus), held_out.leak(encoder.corpus)
    for pair in pairs:
        if not is_chosen(pair) and not (leaks(pair) and encoder.drops(pair, "source is held out for validation")):
            yield pair


def _describe_unknown(encoders: list[CorpusEncoder]) -> str:
    source, target = (sum(encoder.unknown[side] for encoder in encoders) for side in (0, 1))
    source_share = source / max(1, sum(encoder.report.source_tokens for encoder in encoders))
    target_share = target / max(1, sum(encoder.report.target_tokens for encoder in encoders))
    return (
        "the tokenizer has no bytes for characters outside its vocabulary: "
        f"{source_share:.2%} of the source tokens and {target_share:.2%} of the target tokens are unknown"
    )


def _tokenizer_text(
    rules: Rules, data: DataConfig, held_out: HeldOut, every: int, progress: RateLines
) -> Iterator[RawPair]:
    """Yield the usable training pairs, one in `every`, after the repairs and the checks that take little time."""
    for corpus, of_corpus in rules:
        pairs = progress.counted(corpus.pairs())
        is_chosen, leaks = held_out.choice(corpus), held_out.leak(corpus)
        for block in in_blocks(islice(pairs, 0, None, every)):
            used = [] if corpus.is_reversed else [pair for pair in block if not (is_chosen(pair) or leaks(pair))]
            yield from usable_text(used, data, of_corpus.cheap)


def _symbols(
    train: Sequence[Corpus], data: DataConfig, tokenizer: AnyTokenizer | None, say: Callable[[str], None]
) -> list[str]:
    """Return what must be single tokens: the user's symbols, codes of target languages, and tags of whole corpora."""
    tags = {corpus: tag for corpus in train if not corpus.is_reversed and (tag := common_tag(corpus))}
    for corpus, tag in tags.items():
        tokens = 1 if tokenizer is None else len(tokenizer.encode(f"{tag} a")) - len(tokenizer.encode("a"))
        number = "one token" if tokens <= 2 else f"{tokens} tokens in this vocabulary"
        say(f"{corpus.names}: every source begins with {tag}, which is {number}")
    return list(dict.fromkeys([*data.symbols, *map(code_of, targets_of(directions_of(train))), *tags.values()]))


def _learn_tokenizer(
    pairs: Iterator[RawPair], data: DataConfig, train: Sequence[Corpus], symbols: Sequence[str], adjustable: bool
) -> Tokenizer:
    sides = 2 if data.separate_vocabularies else 1
    texts = [TextCounts(data.subwords, data.tokenizer_characters // sides, symbols) for _ in range(sides)]
    for pair in pairs:
        texts[0].add(pair.source)
        texts[-1].add(pair.target)
    options = (data.vocab_size, data.subwords, data.character_coverage, symbols, adjustable)
    try:
        source, *target = (learn_from_counts(text, *options) for text in texts)
    except UserError as error:
        for corpus in train:
            _text_report(corpus, data).check_usable()  # raises a more specific error if the text is unusable
        raise UserError(f"{', '.join(map(str, train))}: {error}") from error
    return Tokenizer(source.model, target[0]) if target else source


def _text_report(corpus: Corpus, data: DataConfig) -> CorpusReport:
    report = CorpusReport([str(path) for path in corpus.paths])
    checks = PairChecks(data.max_length, data.max_ratio)
    for pair in corpus.pairs():
        report.pairs += 1
        fault = checks.text_fault(pair)
        if fault:
            report.drop(pair, fault)
        else:
            report.kept += 1
    return report
