"""A small file or folder of each kind that people hand to one another, and what its user does with it."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from allyouneed.bundle import build_model, load_bundle, save_bundle
from allyouneed.exchange import (
    export_argos,
    export_ctranslate2,
    export_marian,
    export_marian_native,
    import_bundle,
)
from allyouneed.files import MANIFEST
from allyouneed.insight import twins
from allyouneed.training.train import train
from allyouneed.translation.draft_memory import learn_drafts
from benchmarks.measure.hostile import uses
from benchmarks.measure.hostile.mutations import restore_checksums
from tests.compat import POST_NORM
from tests.conftest import silent, toy_pairs
from tests.exchange import test_opennmt_joeynmt as opennmt
from tests.fuzz.samples import targets

DATA = Path(__file__).parents[3] / "tests" / "exchange" / "data"
COMPAT = Path(__file__).parents[3] / "tests" / "compat"
RECIPE = """[model]
d_model = 16
d_ff = 32
num_heads = 2
encoder_layers = 1
decoder_layers = 1
[data]
vocab_size = 300
max_length = 40
symbols = ["<2de>"]
[training]
batch_tokens = 400
steps = 1
warmup = 10
validate_every = 1
learning_rate = 0.005
bleu_sentences = 0
[search]
beam_size = 2
"""


class Sample(NamedTuple):
    """What people hand to one another.

    Attributes:
        folder: Its files.
        use: Uses a copy of the folder; the second argument is a new folder.
        part: The part of the folder whose files are changed; empty for all.
    """

    folder: Path
    use: Callable[[Path, Path], object]
    part: str = ""


def samples(folder: Path) -> dict[str, Sample]:
    """Write a sample of each kind to a folder."""
    return {
        **_models(folder),
        **_bundles(folder),
        **_tokenizers(folder),
        **_training(folder),
        **_tables(folder),
    }


def _models(folder: Path) -> dict[str, Sample]:
    """Models of other systems, which are imported."""
    found: dict[str, Sample] = {}

    def add(name: str, write: Callable[[Path], object], *paths: str, system: str = "") -> None:
        write(folder / name)
        found[name] = Sample(folder / name, partial(uses.use_import, system or name, paths))

    bundle = load_bundle(POST_NORM)
    bundle.languages = uses.LANGUAGES
    add("marian", lambda to: export_marian(bundle, to))
    add("ctranslate2", lambda to: export_ctranslate2(bundle, to))
    add("argos", lambda to: _argos(bundle, to), "model.argosmodel")
    add("marian npz", lambda to: export_marian_native(bundle, to), system="marian")
    add("marian bin", lambda to: _copy(to, DATA / "marian", "transformer.intgemm8.bin", "vocab.yml"), system="marian")
    add("marian zip", lambda to: _zipped(bundle, to), "model.zip", system="marian")
    add("fairseq", _fairseq)
    add("sockeye", lambda to: shutil.copytree(DATA / "sockeye" / "default", to))
    add("eole", lambda to: opennmt.write_eole(to, opennmt.tensors_of("eole"), mlp_activation_fn="relu"))
    add("opennmt-py", _opennmt, "model.pt")
    layout = "layer_norm: pre, embeddings: {scale: true}"
    add("joeynmt", lambda to: opennmt.write_joeynmt(to, opennmt.tensors_of("joeynmt"), layout))
    return found


def _bundles(folder: Path) -> dict[str, Sample]:
    """Bundles of each format, with drafts, and with learned positions."""
    for name in ("format-1", "format-2", "format-2-marian", "format-3"):
        shutil.copytree(COMPAT / name, folder / f"bundle {name}" / "bundle")
    import_bundle("fairseq", [folder / "fairseq"], folder / "bundle fairseq", *uses.LANGUAGES)
    bundle = load_bundle(POST_NORM)
    sides = zip(*(map(bundle.tokenizer.encode, pair) for pair in toy_pairs(200)), strict=True)
    bundle.drafts = learn_drafts(bundle.tokenizer, *map(list, sides)).tensors()
    save_bundle(bundle, folder / "bundle drafts" / "bundle")
    sizes = {"positions": "learned", "max_positions": 64, "d_model": 16}
    config = bundle.config.replace(model=sizes, data={"max_length": 20}, search={"max_extra_length": 20})
    learned = replace(bundle, model=build_model(config.model, bundle.tokenizer), config=config, longest_source=20)
    save_bundle(replace(learned, drafts={}), folder / "bundle learned" / "bundle")
    names = ("format-1", "format-2", "format-2-marian", "format-3", "fairseq", "drafts", "learned")
    return {f"bundle {name}": Sample(folder / f"bundle {name}", uses.use_bundle) for name in names}


def _tokenizers(folder: Path) -> dict[str, Sample]:
    """The files of tokenizers alone."""
    found = {}
    for name, source, files in (
        ("tokenizer", "format-2", ("tokenizer.model",)),
        ("tokenizers", "format-3", ("source.model", "target.model")),
        ("vocabularies", "format-2-marian", ("vocabulary.json", "source.spm", "target.spm")),
    ):
        _copy(folder / name, COMPAT / source, *files)
        found[name] = Sample(folder / name, uses.use_tokenizer)
    return found


def _training(folder: Path) -> dict[str, Sample]:
    """Prepared text, a run that is resumed, and a recipe."""
    shared, resumed, recipe = (folder / name for name in ("store", "run", "recipe"))
    torch.manual_seed(1)
    train(uses.prepared_request(shared, shared / "first"), silent())
    shutil.rmtree(shared / "first")
    train(uses.run_request(resumed, 2), silent())
    for folder in (shared, resumed):
        _remove_seals(folder)
    recipe.mkdir()
    (recipe / "own.toml").write_text(RECIPE)
    return {
        "store": Sample(shared, uses.use_store, "data"),
        "run": Sample(resumed, uses.use_run, "run"),
        "checkpoint": Sample(resumed, uses.use_run, "run/checkpoints"),
        "recipe": Sample(recipe, uses.use_recipe),
    }


def _remove_seals(folder: Path) -> None:
    """Remove checksums inside JSON, as earlier versions wrote it: else only their check would see changes."""
    for copy in folder.rglob("*.copy"):
        copy.unlink()
    for path in folder.rglob("*.json"):
        if path.name != MANIFEST:
            content = json.loads(path.read_text(encoding="utf-8"))
            sums = {"checksum", "crc32", *(("files",) if path.name == "corpus.json" else ())}
            path.write_text(json.dumps({name: value for name, value in content.items() if name not in sums}))
    for manifest in folder.rglob(MANIFEST):
        restore_checksums(manifest)


def _tables(folder: Path) -> dict[str, Sample]:
    """Glossaries, translation memories and other tables."""
    found = {}
    for target in targets():
        if target.kind == "glossary" or target.name == "tmx":
            name = f"glossary {target.name}" if target.kind == "glossary" else "translation memory"
            (folder / name).mkdir()
            (folder / name / ("a.tmx" if target.name == "tmx" else target.name)).write_bytes(target.samples[0])
            found[name] = Sample(folder / name, partial(uses.use_table, target.kind))
    (folder / "ablations").mkdir()
    shutil.copy(Path(twins.__file__).parent / twins.FILE, folder / "ablations")
    found["ablations"] = Sample(folder / "ablations", uses.use_ablations)
    return found


def _argos(bundle: Any, to: Path) -> None:
    export_argos(bundle, to)
    (to / MANIFEST).unlink()
    next(to.glob("*.argosmodel")).rename(to / "model.argosmodel")


def _zipped(bundle: Any, to: Path) -> None:
    to.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        export_marian_native(bundle, Path(temporary) / "model")
        with zipfile.ZipFile(to / "model.zip", "w") as archive:
            for path in sorted((Path(temporary) / "model").iterdir()):
                archive.write(path, path.name)


def _fairseq(to: Path) -> None:
    _copy(to, DATA / "fairseq" / "post", "model.pt", "dict.de.txt", "dict.en.txt")
    shutil.copy(DATA / "fairseq" / "bpecodes", to)


def _opennmt(to: Path) -> None:
    to.mkdir()
    opennmt.write_opennmt(to / "model.pt", opennmt.tensors_of("opennmt"))


def _copy(to: Path, folder: Path, *names: str) -> None:
    to.mkdir()
    for name in names:
        shutil.copy(folder / name, to / name)
