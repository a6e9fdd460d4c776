"""sacreBLEU's test sets by name, for example "wmt14/en-de", from files that are already on this machine.

sacreBLEU keeps them in the folder of the environment variable SACREBLEU, by default ~/.sacrebleu. Nothing is downloaded
here; the message names the command that does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from sacrebleu.dataset import DATASETS
from sacrebleu.dataset.wmt_xml import WMTXMLDataset

from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.suggest import did_you_mean


class NamedSet(NamedTuple):
    """A test set of sacreBLEU.

    Attributes:
        sources: Source sentences.
        references: References, [reference][sentence].
        languages: Codes of source and target.
    """

    sources: list[str]
    references: list[list[str]]
    languages: tuple[str, str]


def is_set_name(name: str) -> bool:
    """Return whether a text is the name of a test set and a language pair, or nearly so: "wmt14/en-de"."""
    dataset, slash, pair = name.rpartition("/")
    return bool(slash) and dataset in DATASETS and "-" in pair


def refuse_without_pair(name: str) -> None:
    """Raise `UserError` if a text is the name of a test set without a language pair."""
    if name in DATASETS:
        pairs = list(DATASETS[name].langpairs)
        raise UserError(
            f"{name}: name the language pair of the test set, for example {name}/{pairs[0]}. It has {', '.join(pairs)}."
        )


def read_named_set(name: str) -> NamedSet:
    """Read a test set of sacreBLEU.

    Args:
        name: Name of the test set and the language pair, for example "wmt14/en-de" or "wmt14/full/en-de".

    Raises:
        UserError: If there is no such language pair, or its files are not on this machine.
    """
    title, _, pair = name.rpartition("/")
    dataset = DATASETS[title]
    if pair not in dataset.langpairs:
        pairs = ", ".join(dataset.langpairs)
        raise UserError(
            f"{name}: {title} has no language pair {pair}{did_you_mean(pair, dataset.langpairs)} It has {pairs}."
        )
    files = _files(dataset, pair)
    if not all(file.is_file() for file in files) and _is_downloaded(dataset):
        dataset.process_to_text(pair)
        files = [file for file in files if file.is_file()]
    if missing := next((file for file in files if not file.is_file()), None):
        raise UserError(
            f"{name}: {missing} is missing. To download the test set: "
            f"python -m sacrebleu -t {title} -l {pair} --echo src > /dev/null"
        )
    source, *references = ([line.rstrip() for line in read_text(file)] for file in files)
    languages = pair.split("-", 1)
    return NamedSet(source, references, (languages[0], languages[1]))


def _files(dataset: Any, pair: str) -> list[Path]:
    """Return the text files of the source and of the references that sacreBLEU scores against."""
    in_archive = isinstance(dataset, WMTXMLDataset)  # the names of its fields are in the downloaded archive
    fields = dataset._get_langpair_allowed_refs(pair) if in_archive else dataset.fieldnames(pair)
    references = [name for name in fields if name.startswith("ref")]
    return [Path(dataset._get_txt_file_path(pair, name)) for name in ("src", *references)]


def _is_downloaded(dataset: Any) -> bool:
    """Return whether all archives are there, so that sacreBLEU extracts text without downloading."""
    archives = [Path(dataset._rawdir) / dataset._get_tarball_filename(url) for url in dataset.data or ()]
    return all(archive.is_file() and archive.stat().st_size for archive in archives)
