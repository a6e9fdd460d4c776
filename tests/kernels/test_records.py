from typing import NamedTuple

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Doubles, Float64, Floats, Longs, Record, address_of, copy_record, floats_at


class Item(Record):
    count: int
    weight: Float64
    values: Floats | None


class Items(Record):
    items: Item
    count: int
    scale: float


class Line(NamedTuple):
    start: Floats
    stride: int


@kernel
def sum_items(part, items: Items, out: Floats):
    for number in range(items.count):
        item = items.items[number]
        if item.values:
            for i in range(item.count):
                out[i] = out[i] + item.values[i] * items.scale


@kernel
def move(part, floats: Floats, longs: Longs, doubles: Doubles):
    line = Line(floats + 2, 3)
    longs[0] = address_of(line.start + line.stride)
    longs += 1
    longs[0] = 7
    doubles[1] = floats_at(longs[-1])[0] + 0.5


@kernel
def change(part, items: Items):
    first = items.items[0]
    first.count = first.count + 1
    first.weight = first.weight * 2
    copy_record(first, items.items[1])


def test_records_hold_numbers_pointers_and_records():
    parts = [Item(count=3, weight=0.0, values=torch.arange(3.0)), Item(count=2, weight=0.0, values=None)]
    parts.append(Item(count=2, weight=0.0, values=torch.ones(2)))
    items, out = Items(items=Item.array(parts), count=3, scale=2), torch.zeros(3)
    sum_items(1, items, out)
    assert out.tolist() == [2.0, 4.0, 4.0]
    sum_items(1, items.replace(count=1), out)
    assert out.tolist() == [2.0, 6.0, 8.0]


def test_pointers_advance_by_elements():
    floats, longs, doubles = np.arange(9, dtype=np.float32), np.zeros(2, dtype=np.int64), np.zeros(2)
    move(1, floats, longs, doubles)
    assert longs.tolist() == [floats.ctypes.data + 4 * 5, 7]
    assert doubles.tolist() == [0.0, 5.5]


def test_fields_are_written_and_copied():
    memory = Item.empty(2)
    memory[:] = 0
    memory[0, 0], memory.view(np.float64)[0, 1] = 4, 1.25
    change(1, Items(items=memory, count=2, scale=1.0))
    assert memory[:, 0].tolist() == [5, 5]
    assert memory.view(np.float64)[:, 1].tolist() == [2.5, 2.5]
