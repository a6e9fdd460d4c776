"""Evaluation of a translator on a test set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from allyouneed.files import TextFiles, as_paths, check_output
from allyouneed.translation.bleu_tokenizers import AUTO, DEFAULT, bleu_metric, choose_tokenizer, unfit_remark
from allyouneed.translation.evaluation_data import read_test_set
from allyouneed.translation.line_translation import LineProgress, translate_lines
from allyouneed.translation.metrics import CorpusScores, corpus_scores
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.text_files import open_output
from allyouneed.translation.translator import Translator


def evaluate(
    run: str | Path | Translator,
    test: TextFiles,
    options: SearchOptions | None = None,
    *,
    tokenized: bool = False,
    tokenizer: str = AUTO,
    output: str | Path | None = None,
    device: str | torch.device = "auto",
    compute_type: str = "float32",
    report: Callable[[str], None] | None = None,
) -> CorpusScores:
    """Translate a test set and compute BLEU and chrF, as `allyouneed evaluate` does.

    Args:
        run: A RUN, a bundle, or a loaded translator.
        test: Two parallel text files (source, target), or one TSV.
        options: Search options; None means the bundle's settings.
        tokenized: Whether the text is already tokenized, so that BLEU must not tokenize it again.
        tokenizer: sacreBLEU's tokenizer, for example "13a", "zh", "ja-mecab", "ko-mecab" or "char"; "auto" follows the
            target language.
        output: File to write the translations to.
        device: Device of the model: "auto" (CUDA if there is a GPU), "cpu" or "cuda".
        compute_type: "float32" or "int8"; see `Translator`.
        report: Called with messages about progress, lines that are too long and unfit tokenizers.

    Returns:
        The scores with sacreBLEU's signatures.

    Raises:
        UserError: If the run or a file cannot be read or written, a line is broken, or an option is invalid.
    """
    if not isinstance(options, SearchOptions | None):
        raise TypeError(f"options must be a SearchOptions or None, not {type(options).__name__}")
    files = as_paths(test)
    if output:
        check_output(Path(output), *files)
    translator = run if isinstance(run, Translator) else Translator.load(run, device, compute_type=compute_type)
    if tokenized and tokenizer == AUTO:
        tokenizer = DEFAULT
    tokenizer, remark = choose_tokenizer(tokenizer, translator.bundle.languages[1])
    bleu_metric(tokenized, tokenizer)  # fails before the translation starts
    pairs = read_test_set(files, translator.bundle.config.data.columns)
    references = [pair.target for pair in pairs]
    lines = ((pair.line, pair.source) for pair in pairs)
    options = (options or SearchOptions()).replace({"return_scores": False})
    report = report or _ignore
    for line in filter(None, (remark, unfit_remark("none" if tokenized else tokenizer, references))):
        report(line)
    progress, translations = LineProgress(report, lambda: len(pairs)), []
    for _, block in translate_lines(translator, lines, files[0], options, report):
        translations += [translation.text for _, translation in block]
        progress.update(len(translations))
    if output:
        with open_output(Path(output)) as out:
            out.writelines(line + "\n" for line in translations)
    return corpus_scores(translations, references, tokenized, tokenizer)


def _ignore(message: str) -> None:
    pass
