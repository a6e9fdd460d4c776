"""Translation while kernels are compiled in the background, and their compilation in advance."""

from __future__ import annotations

import threading

import pytest

from allyouneed import kernels
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation import batch_search, ensemble
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.ensemble import SearchedModels
from allyouneed.translation.translator import Translator
from allyouneed.translation.warming import warm

pytest.importorskip("numba")


@pytest.fixture
def compiling(monkeypatch):
    """Kernels that are being compiled until the event is set."""
    compiled = threading.Event()
    monkeypatch.setattr(kernels.background, "pending", lambda: not compiled.is_set())
    return compiled


@pytest.mark.parametrize("beam_size", [1, 3])
def test_pytorch_translates_until_the_kernels_are_compiled(toy_run, compiling, beam_size):
    texts = ["a b c", "c a", "b " * 9]
    translator = Translator.load(toy_run)
    before = translator.translate(texts, beam_size=beam_size)
    assert type(translator.engine) is Transformer
    compiled = Translator.load(toy_run)
    compiling.set()
    after, expected = (each.translate(texts, beam_size=beam_size) for each in (translator, compiled))
    assert type(translator.engine) is not Transformer
    assert [each.text for each in before] == [each.text for each in after] == [each.text for each in expected]
    assert [each.score for each in before] == pytest.approx([each.score for each in after], rel=1e-4)
    assert [each.score for each in after] == [each.score for each in expected]


def test_a_long_search_waits_for_the_kernels_after_its_first_batch(toy_run, compiling, monkeypatch):
    texts, searched = ["a b c " * 20] * 40, []
    translator = Translator.load(toy_run)
    expected = translator.translate(texts)

    def announce():
        assert searched == [Transformer]
        compiling.set()

    translator.wait_for_kernels(announce)
    run = BatchSearch.run
    monkeypatch.setattr(BatchSearch, "run", lambda *args: searched.append(type(args[1])) or run(*args))
    monkeypatch.setattr(translator, "inter_threads", 1)
    monkeypatch.setattr(batch_search, "_MIN_TOKENS", 64)
    monkeypatch.setattr(ensemble, "_LONG", 0.0)
    found = translator.translate(texts, batch_tokens=256)
    assert [each.text for each in found] == [each.text for each in expected]
    assert Transformer not in searched[1:]
    assert len(searched) > 2


def test_a_short_search_does_not_wait_for_the_kernels(toy_run, compiling):
    translator = Translator.load(toy_run)
    translator.wait_for_kernels(lambda: pytest.fail("waits"))
    translator.translate(["a b c"] * 40, batch_tokens=64)
    assert type(translator.engine) is Transformer


def test_directions_share_one_engine(toy_run, compiling):
    translator = Translator.load(toy_run)
    assert translator.engine is translator.model
    shared = translator._searched
    compiling.set()
    assert shared.current() is shared.current() is translator.engine


def test_threads_continue_with_pytorch_while_one_packs_the_weights(compiling, monkeypatch):
    model, packing, packed = object(), threading.Event(), threading.Event()

    def pack(models, compute_type, memory):
        packing.set()
        assert packed.wait(30)
        return "engine"

    monkeypatch.setattr(ensemble, "searchable", pack)
    searched = SearchedModels([model], "float32")
    assert searched.current() is model
    compiling.set()
    thread = threading.Thread(target=searched.current)
    thread.start()
    assert packing.wait(30)
    assert searched.current() is model
    packed.set()
    thread.join()
    assert searched.current() == "engine"


def test_warm_reports_what_is_compiled(monkeypatch, tmp_path):
    lines, is_cold = [], [True]

    def fill_cache(on_cold):
        if is_cold.pop():
            on_cold()
        return True

    monkeypatch.setattr(kernels.precompile, "fill_cache", fill_cache)
    monkeypatch.setattr(kernels.disk_cache, "folder", lambda: tmp_path)
    warm(lines.append)
    is_cold.append(False)
    warm(lines.append)
    assert len(lines) == 3
    assert lines[1].startswith("compiled all kernels in ")
    assert lines[2] == f"all kernels are compiled: {tmp_path}"


def test_warm_fails_if_kernels_cannot_be_stored(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels.precompile, "fill_cache", lambda on_cold: False)
    monkeypatch.setattr(kernels.disk_cache, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match="cannot be stored"):
        warm(print)


@pytest.mark.parametrize(("installed", "message"), [(False, "Numba is missing"), (True, "NUMBA_CACHE_DIR")])
def test_warm_needs_numba_and_a_folder(monkeypatch, installed, message):
    monkeypatch.setattr(kernels, "installed", lambda: installed)
    monkeypatch.setattr(kernels.disk_cache, "folder", lambda: None)
    with pytest.raises(UserError, match=message):
        warm(print)


def test_a_few_tokens_are_translated_before_the_engine_is_loaded(toy_run):
    translator = Translator.load(toy_run, few_tokens=8)
    assert [translator.translate(["a b"]) and type(translator.engine) is Transformer for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert type(Translator.load(toy_run).engine) is not Transformer


def test_a_compute_type_is_checked_while_kernels_are_compiled(toy_run, monkeypatch):
    waited = threading.Event()
    monkeypatch.setattr(kernels.background, "pending", lambda: not waited.is_set())
    monkeypatch.setattr(kernels.background, "wait", waited.set)
    with pytest.raises(UserError, match="compute_type = int4: choose float32 or int8"):
        Translator.load(toy_run, compute_type="int4")
    if kernels.has_vnni():
        assert hasattr(Translator.load(toy_run, compute_type="int8", few_tokens=1000).engine, "beam_search")
        assert waited.is_set()
