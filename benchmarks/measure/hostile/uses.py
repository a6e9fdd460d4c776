"""What a user does with files from other people; each returns, or raises `UserError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from allyouneed import kernels
from allyouneed.config import load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.data.tokens.vocabulary import load_tokenizers
from allyouneed.errors import UserError
from allyouneed.exchange import describe_model, import_bundle, verify_checksums
from allyouneed.insight import twins
from allyouneed.training.request import Request
from allyouneed.training.train import train
from allyouneed.translation.translator import Translator
from tests.conftest import TOY, silent, toy_pairs, write_pairs
from tests.fuzz.checks import REFUSED, check_glossary, check_training

LANGUAGES = ("de", "en")
TEXT = "a b c"
_SETTINGS = [*TOY, "training.validate_every=1", "training.bleu_sentences=0", "training.average_every=1"]
_LARGEST = 1 << 24  # bytes of a glossary or a translation memory
_MOST_PARAMETERS = 1_000_000  # of the model of a recipe with which a step is taken


def use_import(system: str, paths: Sequence[str], folder: Path, run: Path) -> None:
    """Import a model of another system, and translate with it."""
    chosen = [folder / path for path in paths] or [folder]
    describe_model(chosen[0])
    import_bundle(system, chosen, run, *LANGUAGES)
    _translate(run)


def use_bundle(folder: Path, run: Path) -> None:
    """Check, describe and use a bundle."""
    verify_checksums(folder)
    describe_model(folder)
    _translate(folder)


def _translate(run: Path) -> None:
    """Translate a sentence by all kinds of compiled search, and with the reference implementation."""
    translator = Translator.load(run, inter_threads=1)
    if translator.bundle.directions:
        translator = translator.each_direction()[0]
    translation = translator.translate(TEXT)
    translator.translate([f"{TEXT} " * 3, ""], beam_size=1)
    engine = translator.engine
    if getattr(engine, "drafts", None):
        engine.drafts.pay = lambda _: True
        translator.translate(TEXT, beam_size=1)
    if kernels.has_vnni():
        Translator(translator.bundle, inter_threads=1, compute_type="int8").translate(TEXT, beam_size=1)
    translator.look(TEXT, translation.text)


def use_tokenizer(folder: Path, _: Path) -> None:
    """Divide texts into tokens, and join them again."""
    tokenizer = load_tokenizers(folder)
    for side in (tokenizer, tokenizer.target):
        ids = side.encode(f"{TEXT} 漢字 \u200b 🙂")
        assert all(0 <= number < len(side) for number in ids), "an id beyond the vocabulary"
        side.decode(ids)
        side.decode(range(min(len(side), 2000)))
        side.ids(side.pieces(ids))
        side.split_code(TEXT)


def request_of(folder: Path, out: Path, settings: Sequence[str], recipe: str = "tiny") -> Request:
    """Return a request to train with toy text, which is written to a folder."""
    if not (folder / "text").exists():
        write_pairs(folder / "text", "train", toy_pairs(60))
        write_pairs(folder / "text", "valid", toy_pairs(5, seed=2))
    sides = [[folder / "text" / f"{name}.{side}" for side in ("src", "tgt")] for name in ("train", "valid")]
    return Request([corpus(*sides[0])], [corpus(*sides[1])], out, ("aa", "bb"), recipe, settings)


def prepared_request(folder: Path, out: Path) -> Request:
    """Return a request to train a step with prepared text in `folder/data`."""
    return replace(request_of(folder, out, [*_SETTINGS, "training.steps=1"]), data=folder / "data")


def use_store(folder: Path, run: Path) -> None:
    """Train a step with prepared text."""
    train(prepared_request(folder, run), silent())


def run_request(folder: Path, steps: int) -> Request:
    """Return a request to train the run `folder/run`."""
    return request_of(folder, folder / "run", [*_SETTINGS, f"training.steps={steps}"])


def use_run(folder: Path, _: Path) -> None:
    """Train a run of two steps further."""
    train(run_request(folder, 3), silent())


def use_recipe(folder: Path, run: Path) -> None:
    """Train a step with the settings of a recipe, if its model is small."""
    path = folder / "own.toml"
    config = load_recipe(path)
    model, training = config.model, config.training
    small = config.model.count_weights(config.data.vocab_size) < _MOST_PARAMETERS and training.steps < 5
    if small and max(model.encoder_layers, model.decoder_layers) < 9 and not training.minutes:
        train(request_of(folder, run, [], str(path)), silent())


def use_table(kind: str, folder: Path, run: Path) -> None:
    """Read a glossary or a translation memory."""
    run.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.stat().st_size < _LARGEST:
            check = check_glossary if kind == "glossary" else check_training
            if check(path.name, path.read_bytes(), run) == REFUSED:
                raise UserError("refused")


def use_ablations(folder: Path, _: Path) -> None:
    """Read results of `allyouneed paper questions`."""
    twins.load_twins(folder)
