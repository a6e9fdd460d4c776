"""The formats that `allyouneed import` reads. Each has a module of its own, loaded when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from allyouneed.bundle import Bundle
    from allyouneed.config import ModelConfig


class Format(NamedTuple):
    """A format that can be imported.

    Attributes:
        function: `module:name` of a function from the model's paths and the languages, or None for those that the
            model names, to its bundle.
        takes: The paths that it takes, for the user.
        outline: `module:name` of a function from a path to the settings and sizes of vocabularies of a model, whose
            other files may be missing; empty if there is none.
    """

    function: str
    takes: str
    outline: str = ""

    def load(self) -> Callable[[Sequence[Path], tuple[str, str] | None], Bundle]:
        """Import the module that reads the format, and return its function."""
        function: Callable[[Sequence[Path], tuple[str, str] | None], Bundle] = _named(self.function)
        return function

    def read_outline(self, path: Path) -> tuple[ModelConfig, list[int]] | None:
        """Read the settings of a model and the sizes of its vocabularies, or None if the format cannot.

        Raises:
            UserError: If they are missing, damaged or not supported.
        """
        if not self.outline:
            return None
        outline: Callable[[Path], tuple[ModelConfig, list[int]]] = _named(self.outline)
        return outline(path)


def _named(function: str) -> Any:
    """Import `module:name`."""
    module, name = function.split(":")
    return getattr(import_module(f"{__package__}.{module}"), name)


FORMATS = {
    "argos": Format("argos.importer:read_argos", "FILE.argosmodel, a package of Argos Translate"),
    "ctranslate2": Format(
        "ctranslate2.importer:read_ctranslate2",
        "DIR, a folder with model.bin, and optionally SentencePiece models: one, or those of source and target",
    ),
    "marian": Format(
        "hugging_face.importer:read_marian",
        "a folder as transformers or Marian writes it, a .zip of OPUS-MT, or model.npz and its vocabularies",
        "hugging_face.importer:outline_marian",
    ),
    "fairseq": Format(
        "fairseq.importer:read_fairseq",
        "a folder, an archive, or model.pt, dict.SOURCE.txt, dict.TARGET.txt and BPE codes or a SentencePiece model",
    ),
    "eole": Format(
        "eole.importer:read_eole",
        "DIR, a folder with config.json, and optionally the subword model of both sides, or those of source and target",
    ),
    "joeynmt": Format("joeynmt.importer:read_joeynmt", "DIR, a folder with config.yaml, or a checkpoint in it"),
    "opennmt-py": Format(
        "opennmt_py:read_opennmt_py",
        "model.pt, and optionally the subword model of both sides, or those of source and target",
    ),
    "sockeye": Format(
        "sockeye:read_sockeye",
        "DIR, a folder of Sockeye 3, and optionally BPE codes or SentencePiece models, one or two",
    ),
}
