"""Kernels for the target configured in Numba. Tests start processes, because Numba reads its environment only once."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

import llvmlite.binding as llvm

from benchmarks.instructions import ENVIRONMENT

FEATURES = """
from allyouneed.kernels import product, target
print(target.has_avx512(), target.has_vnni(), target.has_bf16(), target.has_amx())
"""


def run(code: str, **environment: str) -> str:
    """Run Python code in a new process with this Numba target and return its standard output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    environment = {**inherited, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_CPU_NAME": "generic"},
        pytest.param({"NUMBA_CPU_NAME": "haswell"}, marks=pytest.mark.slow),
        pytest.param({"NUMBA_CPU_FEATURES": "+avx2,+fma"}, marks=pytest.mark.slow),
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    ],
    ids=str,
)
def test_a_narrow_target_has_no_avx512(environment):
    assert run(FEATURES, **environment).split() == ["False"] * 4


@pytest.mark.parametrize(
    ("name", "vnni", "bf16", "amx"),
    [
        ("skylake-avx512", False, False, False),
        ("cascadelake", True, False, False),
        ("cooperlake", True, True, False),
        ("sapphirerapids", True, True, True),
    ],
)
def test_features_are_common_to_host_and_configured_processor(name, vnni, bf16, amx):
    host = llvm.get_host_cpu_features()
    expected = [host["avx512f"], vnni and host["avx512vnni"], bf16 and host["avx512bf16"], amx and host["amx-bf16"]]
    assert run(FEATURES, NUMBA_CPU_NAME=name).split() == [str(value) for value in expected]


def test_the_default_target_is_the_host():
    host = llvm.get_host_cpu_features()
    expected = [bool(host.get(feature)) for feature in ("avx512f", "avx512vnni", "avx512bf16", "amx-bf16")]
    assert run(FEATURES).split() == [str(value) for value in expected]


FILE = """
from pathlib import Path
from numba.core.registry import cpu_target
from allyouneed.kernels import dropout, launch
from allyouneed.kernels.storage import Storage
kernel = launch._find(f"{dropout.__name__}._drop")
storage = Storage(launch._loop(kernel._body, kernel._arguments), Path(), may_compile=False)
print(storage._file(cpu_target.target_context.codegen()).name)
"""


def test_compiled_kernels_of_different_targets_have_different_names_on_disk():
    assert len({run(FILE, NUMBA_CPU_NAME=name) for name in ("haswell", "skylake-avx512")}) == 2


TRAIN_AND_TRANSLATE = """
import torch

from allyouneed.config import load_recipe
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine import Engine, engine_for
from allyouneed.translation.search import greedy
from tests.training.test_plain import SIZES, VOCABULARY, batch, losses

settings = ["model.dropout=0", "training.steps=20"]
fast, plain = losses(settings, 1), losses([*settings, "training.plain=true"], 1)
assert abs(fast[0] / plain[0] - 1) < 1e-5, (fast, plain)
torch.manual_seed(1)
model = Transformer(load_recipe("tiny").override([f"model.{size}" for size in SIZES]).model, VOCABULARY).eval()
engine = engine_for(model)
assert isinstance(engine, Engine)
source = batch(1, sentences=8).source
with torch.inference_mode():
    found, expected = (greedy(decoder, source, [5] * 8) for decoder in (engine, model))
assert [one.ids for one in found] == [one.ids for one in expected]
try:
    engine_for(model, "int8")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(ENVIRONMENT, id="haswell"),  # most kernels are those of the instruction counts
        pytest.param({"NUMBA_CPU_NAME": "generic"}, id="generic", marks=pytest.mark.slow),
    ],
)
def test_training_and_translation_on_a_narrow_target(environment, tmp_path):
    """int8 is refused, everything else works. Compiled kernels are cached in a separate folder."""
    separate = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    output = run(TRAIN_AND_TRANSLATE, **{**separate, **environment})
    assert "needs a processor with AVX-512 VNNI" in output
