import numpy as np
import pytest

from allyouneed.data.store import open_store, store_is_complete, write_store
from allyouneed.data.tokens.token_ids import TokenIds, token_ids
from allyouneed.errors import DamagedFile, UserError

PAIRS = [([5, 6], [7]), ([8], [9, 10, 11]), ([], [12])]


def blocks(*sizes: int) -> list[tuple[TokenIds, TokenIds]]:
    """The pairs in blocks of these sizes."""
    pairs = iter(PAIRS)
    parts = [[next(pairs) for _ in range(size)] for size in sizes]
    return [(token_ids([source for source, _ in part]), token_ids([target for _, target in part])) for part in parts]


@pytest.mark.parametrize("sizes", [(3,), (1, 2), (0, 1, 1, 0, 1)])
def test_round_trip(tmp_path, sizes):
    write_store(tmp_path / "s", iter(blocks(*sizes)))
    store = open_store(tmp_path / "s")
    assert len(store) == 3
    assert [(list(store.source[i]), list(store.target[i])) for i in range(3)] == PAIRS
    assert store.target.lengths.tolist() == [1, 3, 1]
    assert isinstance(store.source.ids, np.memmap)


def test_a_truncated_store_is_refused(tmp_path):
    write_store(tmp_path / "s", blocks(3))
    ids = tmp_path / "s" / "source.ids"
    ids.write_bytes(ids.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        open_store(tmp_path / "s")


def test_invalid_metadata_is_refused(tmp_path):
    write_store(tmp_path / "s", blocks(3))
    sides = '"tokens": {"source": 3, "target": 5}'
    for broken in ("", "[]", '{"pairs": 3, "tokens": {"source": 3}}', f'{{"pairs": "3", {sides}}}'):
        (tmp_path / "s" / "store.json").write_text(broken)
        with pytest.raises(UserError, match=r"store\.json: .*Delete"):
            open_store(tmp_path / "s")


def test_an_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "s").write_text("a file")
    for folder in (tmp_path / "s", tmp_path / "s" / "below"):
        with pytest.raises(UserError, match=f"cannot write {folder}"):
            write_store(folder, blocks(3))


def test_an_unfinished_store_is_not_complete(tmp_path):
    def broken():
        yield blocks(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "s", broken())
    assert not store_is_complete(tmp_path / "s")
    with pytest.raises(UserError, match="Delete"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("name", ["target.ids", "source.offsets"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_or_empty_file_is_reported_with_a_remedy(tmp_path, name, missing):
    write_store(tmp_path / "s", blocks(3))
    part = tmp_path / "s" / name
    part.unlink() if missing else part.write_bytes(b"")
    what = "missing or not readable" if missing else "truncated or changed"
    with pytest.raises(DamagedFile, match=rf"{name}: {what}.*\. Delete .* and run the same"):
        open_store(tmp_path / "s")


def test_a_store_has_no_place_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/s: not a directory"):
        write_store(tmp_path / "file" / "s", blocks(3))
