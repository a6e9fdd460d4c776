"""Data preparation: from text files to a tokenizer and token ids on disk, with a report of dropped pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TextIO

from allyouneed.config import DataConfig
from allyouneed.data.blocks import prepare_block
from allyouneed.data.corpora import Corpus, common_tag, count_all_pairs, directions_of, located
from allyouneed.data.corpus import CorpusReport, PairChecks, count_pairs, usable_text
from allyouneed.data.corpus_encoder import CorpusEncoder, PrepareBlocks
from allyouneed.data.directions import code_of, targets_of
from allyouneed.data.duplicates import SeenPairs
from allyouneed.data.files.formats import RawPair, read_pairs, reading_notes
from allyouneed.data.held_out import HeldOut, held_out_strides
from allyouneed.data.inspection.inspect_text import inspect_text
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import TokenIds, write_store
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.data.tokens.tokenizer_training import describe_size, learn_tokenizer
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.files import cannot_write

_TOKENIZER_PAIRS = 1_000_000  # pairs, distributed over the corpus, on which the tokenizer is trained


def prepare(
    folder: Path,
    train: Sequence[Corpus],
    valid: Sequence[Corpus] | None,
    data: DataConfig,
    say: Callable[[str], None],
    tokenizer: AnyTokenizer | None = None,
    adjustable: bool = False,
    languages: tuple[str, str] | None = None,
) -> PreparedData:
    """Train a tokenizer, encode the text and write it to `folder`, unless this has been done before.

    The training corpora form one store, in their order. A pair that an earlier corpus has is dropped.

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

    Returns:
        The prepared data.

    Raises:
        UserError: If no usable pairs remain for training or validation, the text has another encoding or is not
            parallel (see `inspection.py`), or the folder cannot be written.
    """
    prepared = PreparedData(folder)
    if prepared.is_complete:
        return prepared
    train, valid = (located(corpora, data.columns, languages) for corpora in (train, valid or ()))
    for note in dict.fromkeys(note for each in (*train, *valid) for note in reading_notes(each.paths, each.columns)):
        say(note)
    counts = [count_pairs(corpus.paths, corpus.columns) for corpus in train]
    count_all_pairs(valid)
    held_out = HeldOut({} if valid else held_out_strides(train, counts))
    inspection = inspect_text(train, valid, counts, data, languages or ("und", "und"))
    symbols = _symbols(train, data, tokenizer, say)
    if tokenizer is None:
        say(f"training the tokenizer: {data.vocab_size:,} {'words' if data.subwords == 'word' else 'subwords'} ...")
        every = max(1, sum(counts) // _TOKENIZER_PAIRS)
        tokenizer = _learn_tokenizer(_tokenizer_text(train, data, held_out, every), data, train, symbols, adjustable)
        for line in describe_size(tokenizer, data.vocab_size):
            say(line)
    texts: list[tuple[str, str]] = []
    with _open_dropped(prepared.dropped) as dropped:
        prepare_blocks = _block_preparation(data, tokenizer, inspection.overlap if data.drop_overlap else None)
        seen = SeenPairs()
        encoders = [CorpusEncoder(corpus, prepare_blocks, dropped, seen) for corpus in train]
        write_store(prepared.train, _training_pairs(encoders, held_out))
        reports = {"train": [encoder.report for encoder in encoders]}
        for report in reports["train"]:
            report.check_usable()
        if any(sum(encoder.unknown) for encoder in encoders):
            say(_describe_unknown(encoders))
        prepare_blocks = _block_preparation(data, tokenizer)
        encoders = [
            CorpusEncoder(corpus, prepare_blocks, dropped, None if valid else SeenPairs())
            for corpus in valid or held_out.strides
        ]
        write_store(prepared.valid, _validation_pairs(encoders, held_out, texts))
        reports["valid"] = [encoder.report for encoder in encoders]
        if not valid and not all(report.kept for report in reports["valid"]):
            raise UserError(
                f"{', '.join(map(str, held_out.strides))}: too few pairs to hold out some of them for validation. "
                "Give a validation set: --valid SOURCE TARGET."
            )
        for report in reports["valid"]:
            report.check_usable()
    if not valid:
        names = dict.fromkeys(corpus.names for corpus in held_out.strides)
        where = f" of {'; '.join(names)}" if len(train) > 1 else ""
        say(f"no --valid given: {len(texts):,} training pairs{where} are held out for validation")
    for part, found in (("train", inspection.train), ("valid", inspection.valid)):
        for report, findings in zip(reports[part], found, strict=False):
            report.findings = [finding.as_dict() for finding in findings]
    prepared.finish(tokenizer, texts, reports)
    return prepared


def _block_preparation(
    data: DataConfig, tokenizer: AnyTokenizer, excluded: ValidationOverlap | None = None
) -> PrepareBlocks:
    """Return a function that applies `prepare_block` to blocks of pairs."""
    return partial(map, partial(prepare_block, data=data, tokenizer=tokenizer, excluded=excluded))


def _describe_unknown(encoders: list[CorpusEncoder]) -> str:
    source, target = (sum(encoder.unknown[side] for encoder in encoders) for side in (0, 1))
    source_share = source / max(1, sum(encoder.report.source_tokens for encoder in encoders))
    target_share = target / max(1, sum(encoder.report.target_tokens for encoder in encoders))
    return (
        "the tokenizer has no bytes for characters outside its vocabulary: "
        f"{source_share:.2%} of the source tokens and {target_share:.2%} of the target tokens are unknown"
    )


def _training_pairs(encoders: list[CorpusEncoder], held_out: HeldOut) -> Iterator[tuple[TokenIds, TokenIds]]:
    """Yield the token ids of all corpora, without the pairs that are held out or that an earlier corpus has."""
    for number, encoder in enumerate(encoders):
        if number and encoder.seen:
            encoder.seen.next_corpus()
        yield from encoder.encoded(partial(_is_trained_on, encoder, held_out))


def _is_trained_on(encoder: CorpusEncoder, held_out: HeldOut, pair: RawPair) -> bool:
    if held_out.chosen(encoder.corpus, pair):
        return False
    is_leaked = held_out.has_source(encoder.corpus, pair)
    return not encoder.drops(pair, "source is held out for validation" if is_leaked else None)


def _validation_pairs(
    encoders: list[CorpusEncoder], held_out: HeldOut, texts: list[tuple[str, str]]
) -> Iterator[tuple[TokenIds, TokenIds]]:
    """Yield the token ids of the validation text, or of the pairs that are held out, and append their texts."""
    for encoder in encoders:
        corpus = encoder.corpus
        yield from encoder.encoded(partial(held_out.chosen, corpus) if held_out.strides else lambda pair: True, texts)


def _tokenizer_text(train: Sequence[Corpus], data: DataConfig, held_out: HeldOut, every: int) -> Iterator[RawPair]:
    """Yield the usable training pairs, one in `every`."""
    checks = PairChecks(data.max_length, data.max_ratio)
    read = ((corpus, pair) for corpus in train for pair in usable_text(corpus.paths, corpus.columns, checks))
    for corpus, pair in islice(read, 0, None, every):
        if corpus.is_reversed:
            continue
        if not (held_out.chosen(corpus, pair) or held_out.has_source(corpus, pair)):
            yield pair


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
    options = (data.vocab_size, data.subwords, data.character_coverage, symbols, adjustable)
    try:
        if not data.separate_vocabularies:
            return learn_tokenizer((text for pair in pairs for text in (pair.source, pair.target)), *options)
        sentences = list(pairs)
        target = learn_tokenizer((pair.target for pair in sentences), *options)
        return Tokenizer(learn_tokenizer((pair.source for pair in sentences), *options).model, target)
    except UserError as error:
        for corpus in train:
            _text_report(corpus, data).check_usable()  # raises a more specific error if the text is unusable
        raise UserError(f"{', '.join(map(str, train))}: {error}") from error


def _text_report(corpus: Corpus, data: DataConfig) -> CorpusReport:
    report = CorpusReport([str(path) for path in corpus.paths])
    checks = PairChecks(data.max_length, data.max_ratio)
    for pair in read_pairs(corpus.paths, corpus.columns):
        report.pairs += 1
        fault = checks.text_fault(pair)
        if fault:
            report.drop(pair, fault)
        else:
            report.kept += 1
    return report


@contextmanager
def _open_dropped(path: Path) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:  # for file names that are not UTF-8
            file.write("file\tline\treason\tsource\ttarget\n")
            yield file
    except OSError as error:
        raise cannot_write(path, error) from error
