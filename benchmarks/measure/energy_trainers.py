"""The trainers of `benchmarks/energy.py`: their command, the models they save, and the BLEU of these."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.evaluation.metrics import corpus_scores
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

PEERS = Path(__file__).parents[1] / "peers"
TEST = "test_2016_flickr"
BEAM = 5


@dataclass(frozen=True)
class Trainer:
    """A trainer that saves models while it trains, and continues when it is started again.

    Attributes:
        name: Its name in tables.
        folder: Folder of this measurement.
        data: Folder with the Multi30k files.
        peer: Folder of the peer, as given to its script.
        recipe: Recipe of allyouneed.
    """

    name: str
    folder: Path
    data: Path
    peer: Path
    recipe: str
    averaged = 1  # models whose average is scored

    def command(self, minutes: float) -> list[str]:
        """Return the command that trains, for the given minutes if it plans its time."""
        raise NotImplementedError

    def saved(self) -> list[Path]:
        """Return the complete models that it has saved so far."""
        raise NotImplementedError

    def identity(self, path: Path) -> tuple[str, int]:
        """Identify a version of a saved model, which may be replaced by the next one."""
        return path.name, path.stat().st_mtime_ns

    def copy(self, path: Path, folder: Path) -> None:
        """Copy a saved model into a new folder."""
        folder.mkdir()
        shutil.copy2(path, folder)

    def bleu(self, folders: list[Path]) -> float:
        """Score the average of copied models on `TEST`."""
        raise NotImplementedError


class Ours(Trainer):
    """`allyouneed train` with a recipe; its models are the bundles that it writes after validations."""

    def command(self, minutes: float) -> list[str]:
        files = {name: [str(self._file(name, language)) for language in ("en", "de")] for name in ("train", "val")}
        command = [sys.executable, "-m", "allyouneed", "train", "--from", "en", "--to", "de", "--recipe", self.recipe]
        command += ["--train", *files["train"], "--valid", *files["val"], "--out", str(self.folder / "run")]
        return [*command, "--minutes", f"{minutes:g}"]

    def saved(self) -> list[Path]:
        model = self.folder / "run" / "bundle" / "model.safetensors"
        return [model] if model.exists() else []

    def copy(self, path: Path, folder: Path) -> None:
        shutil.copytree(path.parent, folder)

    def bleu(self, folders: list[Path]) -> float:
        test = [self._file(TEST, language) for language in ("en", "de")]
        return evaluate(Translator.load(folders[-1], "cpu"), test, SearchOptions(beam_size=BEAM), tokenizer="none").bleu

    def _file(self, name: str, language: str) -> Path:
        return self.data / f"{name}.lc.norm.tok.{language}.gz"


class Peer(Trainer):
    """A peer's script with the published recipe, which saves a model after each epoch."""

    averaged = 5
    pattern = ""  # of the saved models

    def command(self, minutes: float) -> list[str]:
        return ["bash", str(PEERS / f"{self.name}.sh"), "learn", str(self.peer), str(self.folder / "run")]

    def saved(self) -> list[Path]:
        return sorted((self.folder / "run").glob(self.pattern), key=lambda path: path.stat().st_mtime_ns)

    def bleu(self, folders: list[Path]) -> float:
        models = [str(path) for folder in folders for path in folder.iterdir()]
        command = ["bash", str(PEERS / f"{self.name}.sh"), "translate", str(self.peer), *models]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
        with gzip.open(self.data / f"{TEST}.lc.norm.tok.de.gz", "rt", encoding="utf-8") as lines:
            references = [line.rstrip("\n") for line in lines]
        return corpus_scores(done.stdout.removesuffix("\n").split("\n"), references, tokenized=True).bleu


class Fairseq(Peer):
    """fairseq; epochs are `checkpointN.pt`."""

    pattern = "checkpoint[0-9]*.pt"


class Marian(Peer):
    """Marian; epochs are `model.iterN.npz`."""

    pattern = "model.iter*.npz"

    def saved(self) -> list[Path]:
        """Leave out the newest while it may be incomplete: Marian writes model.npz after it."""
        last = self.folder / "run" / "model.npz"
        done = last.stat().st_mtime_ns if last.exists() else 0
        return [path for path in super().saved() if path.stat().st_mtime_ns <= done]


TRAINERS: dict[str, type[Trainer]] = {"allyouneed": Ours, "fairseq": Fairseq, "marian": Marian}
