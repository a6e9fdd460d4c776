"""The table "from × to" of docs/exchange.md: each cell is a model that is imported, exported and imported again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from allyouneed import UserError
from allyouneed.bundle import Bundle, load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.exchange import export_argos, export_ctranslate2, export_marian, export_marian_native, import_bundle
from tests.compat import POST_NORM, PRE_NORM
from tests.exchange import ctranslate2_models, opus
from tests.exchange.models import random_bundle
from tests.exchange.test_opennmt_joeynmt import tensors_of, write_eole, write_joeynmt, write_opennmt

for package in ("ctranslate2", "transformers", "yaml"):
    pytest.importorskip(package, reason=f"the package {package} is not installed")

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).parents[2] / "docs" / "exchange.md"
LANGUAGES = ("de", "en")
SPECIALS = 4
EXPORTS: dict[str, tuple[str, Callable]] = {
    "CTranslate2": ("ctranslate2", export_ctranslate2),
    "Argos": ("argos", export_argos),
    "Marian (Hugging Face)": ("marian", export_marian),
    "Marian (its own format)": ("marian", export_marian_native),
}
REFUSALS = {  # how the table names what a format cannot contain: how the message begins
    "no: pre-norm": "model.norm = pre",
    "no: learned positions": "model.positions = learned",
    "no: heads differ": "model.decoder_heads = ",
    "no: no end of the source": "model.source_end = ",
    "no: norm of the embeddings": "model.embedding_norm = ",
    "no: SentencePiece only": "this model's text is segmented by ",
}


def own(path: Path) -> Callable[[Path], Bundle]:
    return lambda _: load_bundle(path)


def imported(format: str, write: Callable[[Path], Sequence[Path]]) -> Callable[[Path], Bundle]:
    def load(folder: Path) -> Bundle:
        import_bundle(format, write(folder), folder / "run", *LANGUAGES)
        return load_bundle(folder / "run")

    return load


def ctranslate2_model(shape: str) -> Callable[[Path], Bundle]:
    def write(folder: Path) -> list[Path]:
        ctranslate2_models.write_model(folder / "model", **ctranslate2_models.SHAPES[shape])
        return [folder / "model"]

    return imported("ctranslate2", write)


def argos(folder: Path) -> list[Path]:
    """A package of the shape of OpenNMT-py, with which Argos Translate trains."""
    write = ctranslate2_model("OpenNMT-py: pre-norm, the paper's table, no end of the source")
    (folder / "opennmt").mkdir()
    bundle = write(folder / "opennmt")
    bundle.languages = LANGUAGES
    return [export_argos(bundle, folder / "argos")]


def hugging_face(folder: Path) -> list[Path]:
    opus.write_marian(folder / "model")
    return [folder / "model"]


def marian(folder: Path) -> list[Path]:
    """A model of `--type transformer`, which starts from zeros, with a SentencePiece vocabulary."""
    bundle = random_bundle(norm="post", norm_epsilon=1e-6, sinusoid_frequencies="tensor2tensor")
    with torch.no_grad():
        bundle.model.target_embedding.tokens.weight[BOS] = 0
    export_marian_native(bundle, folder / "model")
    return [folder / "model"]


def opennmt(folder: Path) -> list[Path]:
    write_opennmt(folder / "model.pt", tensors_of("opennmt"))
    return [folder / "model.pt"]


def eole(folder: Path) -> list[Path]:
    write_eole(folder / "model", tensors_of("eole"))
    return [folder / "model"]


def joeynmt(norm: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        tensors = tensors_of("joeynmt", final=norm == "pre")
        write_joeynmt(folder / "model", tensors, f"layer_norm: {norm}, embeddings: {{scale: true}}")
        return [folder / "model"]

    return write


def fairseq(name: str) -> Callable[[Path], list[Path]]:
    files = ("model.pt", "dict.en.txt", "dict.de.txt", "../bpecodes")
    return lambda _: [DATA / "fairseq" / name / file for file in files]


MODELS: dict[str, Callable[[Path], Bundle]] = {
    "this package, pre-norm": own(PRE_NORM),
    "this package, post-norm": own(POST_NORM),
    "Marian (Hugging Face)": imported("marian", hugging_face),
    "Marian, `transformer`": imported("marian", marian),
    "Marian, `transformer-new`, pre-norm, trained positions": imported(
        "marian", lambda _: [DATA / "marian" / "transformer-new.npz", DATA / "marian" / "vocab.yml"]
    ),
    "Argos": imported("argos", argos),
    "CTranslate2, of a Marian model": ctranslate2_model("Marian: zero start, swish, no padding"),
    "CTranslate2, of a fairseq model": ctranslate2_model("fairseq: post-norm, starts from the end token"),
    "CTranslate2, of a BART": ctranslate2_model("BART: learned positions, norm of embeddings, GELU"),
    "fairseq, post-norm, BPE codes": imported("fairseq", fairseq("post")),
    "fairseq, learned positions, heads of the decoder differ": imported("fairseq", fairseq("learned")),
    "OpenNMT-py": imported("opennmt-py", opennmt),
    "Eole": imported("eole", eole),
    "Joey NMT, pre-norm": imported("joeynmt", joeynmt("pre")),
    "Joey NMT, post-norm": imported("joeynmt", joeynmt("post")),
    "Sockeye, pre-norm": imported("sockeye", lambda _: [DATA / "sockeye" / "default"]),
    "Sockeye, learned positions, heads of the decoder differ": imported(
        "sockeye", lambda _: [DATA / "sockeye" / "shapes"]
    ),
}


@cache
def table() -> dict[tuple[str, str], str]:
    """Read the cells of the page by the names of row and column."""
    _, text = PAGE.read_text(encoding="utf-8").split("| from | ")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.split("\n\n")[0].splitlines()]
    return {(name, column): cell for name, *cells in rows[2:] for column, cell in zip(rows[0], cells, strict=True)}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory) -> tuple[str, Bundle]:
    bundle = MODELS[request.param](tmp_path_factory.mktemp("model"))
    bundle.languages = LANGUAGES
    return request.param, bundle


def log_probabilities(bundle: Bundle, source: Sequence[str], target: Sequence[str], columns: Sequence[str]) -> Tensor:
    """Compute log probabilities among the tokens of `columns` after each target token, all given by their names."""
    tokenizer = bundle.tokenizer
    ids = [[side.ids([name])[0] for name in names] for side, names in ((tokenizer, source), (tokenizer.target, target))]
    with torch.inference_mode():
        logits = bundle.model.eval()(torch.tensor([[*ids[0], EOS]]), torch.tensor([[BOS, *ids[1]]]))[0]
    return logits[:, [EOS, *(tokenizer.target.ids([name])[0] for name in columns)]].log_softmax(dim=-1)


def pieces_of(tokenizer) -> list[str]:
    """Name all tokens of text: neither special ones nor those of which a format keeps only that they are excluded."""
    pieces = [tokenizer.pieces([row])[0] for row in range(SPECIALS, len(tokenizer))]
    return [piece for piece in pieces if tokenizer.ids([piece])[0] >= SPECIALS and not piece.startswith("<")]


@pytest.mark.parametrize("column", EXPORTS)
def test_a_cell_of_the_table(model, column, tmp_path):
    name, bundle = model
    (format, export), cell = EXPORTS[column], table()[name, column]
    if cell.startswith("no: "):
        with pytest.raises(UserError, match=f"^{re.escape(REFUSALS[cell])}"):
            export(bundle, tmp_path / "out")
        return
    assert cell == "exact"
    import_bundle(format, [export(bundle, tmp_path / "out") or tmp_path / "out"], tmp_path / "run", *LANGUAGES)
    again = load_bundle(tmp_path / "run")
    source, target = pieces_of(bundle.tokenizer)[:9:2], pieces_of(bundle.tokenizer.target)
    one, two = (log_probabilities(each, source, target[1:8:2], target) for each in (bundle, again))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    for text in ("a b c d", "h g f", "d"):
        ids = [each.tokenizer.encode(text) for each in (bundle, again)]
        assert bundle.tokenizer.pieces(ids[0]) == again.tokenizer.pieces(ids[1])
        targets = [each.tokenizer.target for each in (bundle, again)]
        assert len({side.decode(side.encode(text)) for side in targets}) == 1


def test_the_table_has_these_rows_and_columns():
    assert set(table()) == {(name, column) for name in MODELS for column in EXPORTS}


@pytest.mark.parametrize(
    ("column", "search"),
    [("CTranslate2", (4, 0.6, 5)), ("Marian (Hugging Face)", (3, 0, 0)), ("Marian (its own format)", (3, 0, 0))],
)
def test_what_is_lost_of_the_search(column, search, tmp_path):
    bundle = load_bundle(POST_NORM)
    bundle.config = bundle.config.override(["search.beam_size=3", "search.length_penalty=0.4"])
    format, export = EXPORTS[column]
    export(bundle, tmp_path / "out")
    import_bundle(format, [tmp_path / "out"], tmp_path / "run", *LANGUAGES)
    found = load_bundle(tmp_path / "run").config.search
    assert (found.beam_size, found.length_penalty, found.length_offset) == search
