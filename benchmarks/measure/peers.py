"""Peers that translate with our weights, in processes of their own virtual environments.

They run `peers/translator.py`, Marian `peers/marian.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from allyouneed.bundle import Bundle, weights_of
from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.exchange import export_marian_native

MARIAN = "marian"
PEERS = ("fairseq", "transformers", "joeynmt", MARIAN)
_SCRIPTS = Path(__file__).parents[1] / "peers"


def store_weights(bundle: Bundle, folder: Path, name: str) -> Path:
    """Write the weights in the form that the peer reads.

    Args:
        bundle: The bundle.
        folder: An existing folder.
        name: Name of the peer.

    Returns:
        The file or folder that the peer reads.

    Raises:
        ValueError: If the peer does not support the architecture.
    """
    config = bundle.config.model
    sizes = {"d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers", "dropout", "max_positions"}
    variable = sizes | {"norm", "attention_bias"}
    if config.model_dump(exclude=variable) != ModelConfig().model_dump(exclude=variable):
        raise ValueError(f"peers support only the paper's settings besides {', '.join(sorted(variable))}")
    if name == MARIAN:
        export_marian_native(bundle, folder / name)
        return folder / name
    path = folder / "weights.pt"
    torch.save({"config": config.model_dump(), "weights": dict(weights_of(bundle.model))}, path)
    return path


class Peer:
    """Single-threaded processes of one peer that share the sentences. peak: Sum of their peak memory in MiB."""

    def __init__(self, name: str, weights: Path, venv: Path | None, processes: int, log: Path):
        python = str(venv / "bin" / "python") if venv else sys.executable
        self.name, self.log, self.peaks = name, log, [0.0] * processes
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        script = ["marian.py"] if name == MARIAN else ["translator.py", name]
        with open(log, "w") as errors:
            self.processes = [
                subprocess.Popen(
                    [python, str(_SCRIPTS / script[0]), *script[1:], str(weights)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
                for _ in range(processes)
            ]
        self.pool = ThreadPoolExecutor(processes)

    @property
    def peak(self) -> float:
        return sum(self.peaks)

    def translate(self, sentences: Sequence[list[int]], beam: int, processes: int | None = None) -> list[list[int]]:
        """Translate token ids without the end token. processes: Number of processes to use (default: all)."""
        count = min(processes or len(self.processes), len(sentences))
        order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
        shares = [order[first::count] for first in range(count)]

        def request(index: int) -> list[list[int]]:
            message = {"beam": beam, "sentences": [[*sentences[i], EOS] for i in shares[index]]}
            process = self.processes[index]
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.name} exited:\n{self.log.read_text()[-2000:]}")
            answer = json.loads(line)
            self.peaks[index] = answer["peak"]
            return answer["translations"]

        translations: list[list[int]] = [[] for _ in sentences]
        for share, answers in zip(shares, self.pool.map(request, range(count)), strict=True):
            for i, ids in zip(share, answers, strict=True):
                translations[i] = ids
        return translations

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()
        self.pool.shutdown()
