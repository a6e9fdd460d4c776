import numpy as np
import pytest

from allyouneed.data.store import open_store, store_is_complete, write_store
from allyouneed.errors import UserError

PAIRS = [([5, 6], [7]), ([8], [9, 10, 11]), ([], [12])]


def test_round_trip(tmp_path):
    write_store(tmp_path / "s", iter(PAIRS))
    store = open_store(tmp_path / "s")
    assert len(store) == 3
    assert [(list(store.source[i]), list(store.target[i])) for i in range(3)] == PAIRS
    assert store.target.lengths.tolist() == [1, 3, 1]
    assert isinstance(store.source.ids, np.memmap)


def test_a_store_cut_short_is_refused(tmp_path):
    write_store(tmp_path / "s", iter(PAIRS))
    ids = tmp_path / "s" / "source.ids"
    ids.write_bytes(ids.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        open_store(tmp_path / "s")


def test_a_mark_that_says_too_little_is_refused(tmp_path):
    write_store(tmp_path / "s", iter(PAIRS))
    sides = '"tokens": {"source": 3, "target": 5}'
    for broken in ("", "[]", '{"pairs": 3, "tokens": {"source": 3}}', f'{{"pairs": "3", {sides}}}'):
        (tmp_path / "s" / "store.json").write_text(broken)
        with pytest.raises(UserError, match=r"store\.json: missing or not readable\. Delete"):
            open_store(tmp_path / "s")


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "s").write_text("a file")
    for folder in (tmp_path / "s", tmp_path / "s" / "below"):
        with pytest.raises(UserError, match=f"cannot write {folder}"):
            write_store(folder, iter(PAIRS))


def test_an_unfinished_store_is_not_complete(tmp_path):
    def broken():
        yield PAIRS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "s", broken())
    assert not store_is_complete(tmp_path / "s")
    with pytest.raises(UserError, match="Delete"):
        open_store(tmp_path / "s")
