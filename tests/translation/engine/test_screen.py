import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from allyouneed.translation.engine import decoder as at
from allyouneed.translation.engine import screen


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_the_best_words_are_exactly_those_of_fp32(count, spread):
    torch.manual_seed(1)
    rows, depth, vocabulary = 37, 64, 1500
    weight, bias = torch.randn(vocabulary, depth) * spread, torch.randn(vocabulary)
    hidden = torch.randn(rows, depth)
    held = screen.round_words(weight, bias)
    model = np.zeros(at.MODEL, dtype=np.int64)
    model[at.D_MODEL], model[at.WORDS], model[at.END] = depth, vocabulary, 3
    model[at.OUTPUT_WEIGHT : at.SCREEN_ERRORS + 1] = [x.data_ptr() for x in held]
    tops, found = np.empty((rows, count), dtype=np.float32), np.empty((rows, count), dtype=np.int64)
    ends, fits = np.empty(rows, dtype=np.float32), np.zeros(rows, dtype=np.int64)
    scratch = np.empty(screen.scratch_size(rows, depth, count), dtype=np.float32)
    given = (x.ctypes.data for x in (tops, found, ends, fits, scratch))
    screen.screen(model.ctypes.data, rows, rows, hidden.data_ptr(), count, *given)
    logits = hidden.double() @ weight.double().T + bias
    expected = logits.topk(count)
    assert fits.all()
    np.testing.assert_array_equal(found, expected.indices.numpy())
    np.testing.assert_allclose(tops, expected.values.numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(ends, logits[:, 3].numpy(), rtol=1e-4, atol=1e-4)
