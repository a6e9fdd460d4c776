from pathlib import Path

import numpy as np
import pytest

from allyouneed.data.batches import BatchOrder, collate
from allyouneed.data.store import STORE, open_store, store_facts, store_is_complete, write_store
from allyouneed.data.stored_numbers import BLOCK
from allyouneed.data.tokens.token_ids import TokenIds, token_ids
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import write_sealed

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
    assert store.target.lengths_with_end.tolist() == [2, 4, 2]
    assert store.target.ids_of(np.array([2, 0])).tolist() == [12, 7]


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


def large_store(folder: Path) -> TokenIds:
    """A store of several blocks with checksums; returns the side that is its source and its target."""
    random = np.random.default_rng(1)
    lengths = random.integers(0, 50, 4000)
    side = TokenIds(random.integers(4, 100, lengths.sum(), dtype=np.int32), lengths)
    write_store(folder, [(side, side)])
    assert 4 * len(side.ids) > 4 * BLOCK
    return side


@pytest.mark.parametrize("memory", [0, 10_000_000])
def test_a_damaged_block_is_refused_before_its_first_use(memory, tmp_path):
    side = large_store(tmp_path)
    ends = np.cumsum(side.lengths)
    flip(tmp_path / "source.ids", 2 * BLOCK)
    store = open_store(tmp_path, memory=memory)
    before = np.arange(np.searchsorted(4 * ends, 2 * BLOCK, side="right"))
    assert np.array_equal(store.source.ids_of(before), side.ids[: ends[before[-1]]])
    for read in (
        lambda: store.source[len(before)],
        lambda: store.source.ids_of(np.array([3, len(before)])),
        store.verify,
    ):
        with pytest.raises(DamagedFile, match=r"source\.ids: truncated or changed .* Delete .* and run the same"):
            read()
    store.target.ids_of(np.arange(len(store)))


def test_token_ids_in_memory_do_not_change_with_their_file(tmp_path):
    side = large_store(tmp_path)
    store = open_store(tmp_path, memory=10_000_000)
    store.verify()
    for path in tmp_path.glob("*.ids"):
        path.write_bytes(b"")
    store.verify_again()  # does nothing
    assert np.array_equal(store.source.ids[:], side.ids)
    assert np.array_equal(store.target.ids_of(np.arange(len(store))), side.ids)


def test_mapped_token_ids_are_verified_again_in_each_epoch(tmp_path):
    large_store(tmp_path)
    store = open_store(tmp_path)
    order = BatchOrder(store, 1000, seed=1)
    batches = order.epoch_batches(0)
    collate(store, np.concatenate(batches))
    flip(tmp_path / "target.ids", 3 * BLOCK)
    collate(store, np.concatenate(batches))
    batches = order.epoch_batches(1)
    with pytest.raises(DamagedFile, match=r"target\.ids: truncated or changed"):
        collate(store, np.concatenate(batches))


@pytest.mark.parametrize("sums", [{"source.ids": [1]}, {"source.ids": "0011223"}, {"source.ids": "00112233"}, {}])
def test_wrong_checksums_are_refused(sums, tmp_path):
    large_store(tmp_path)
    write_sealed(tmp_path / STORE, {**store_facts(tmp_path, ""), "crc32": sums})
    with pytest.raises(DamagedFile, match="Delete"):
        open_store(tmp_path)


def test_a_store_of_an_earlier_version_is_read(tmp_path):
    side = large_store(tmp_path)
    facts = store_facts(tmp_path, "")
    write_sealed(tmp_path / STORE, {name: facts[name] for name in ("pairs", "tokens")})
    store = open_store(tmp_path)
    store.verify()
    assert np.array_equal(store.source.ids[:], side.ids)


def flip(path: Path, position: int) -> None:
    """Flip a bit of a file in place."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    with open(path, "r+b") as file:
        file.write(content)
