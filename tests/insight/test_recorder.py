import threading

import numpy as np
import pytest
import torch

import allyouneed
from allyouneed import UserError
from allyouneed.config import TrainingConfig
from allyouneed.data.batches import Batch
from allyouneed.training.step import batch_loss

SOURCE = torch.tensor([[5, 9, 12, 3], [7, 3, 0, 0]])
TARGET = torch.tensor([[2, 8, 11], [2, 6, 0]])


def test_recording_keeps_logits_and_rows_sum_to_1(small):
    with torch.no_grad():
        expected = small.model(SOURCE, TARGET)
        with allyouneed.record(small.model, small.tokenizer) as seen:
            found = small.model(SOURCE, TARGET)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert seen.cross.shape == (2, 2, 3, 4)
    for weights in (seen.encoder, seen.decoder, seen.cross):
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_the_last_pass_is_kept(small):
    with torch.no_grad(), allyouneed.record(small.model) as seen:
        small.model(SOURCE, TARGET)
        small.model(SOURCE[1:, :2], TARGET[1:, :2])
    assert seen.cross.shape == (2, 2, 2, 2)


def test_stages_follow_the_equations(small):
    with torch.no_grad(), allyouneed.record(small.model) as seen:
        small.model(SOURCE, TARGET)
    stages = seen.stages("cross", 1)
    layer = small.model.decoder.layers[1]
    attention, norm = layer.cross_attention, layer.residuals[1].norm
    heads = lambda x: x.reshape(len(x), 2, -1).transpose(1, 0, 2)  # noqa: E731
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    matrix = {name: getattr(attention, name).weight.detach().numpy().T for name in ("query", "key", "value", "output")}
    close(stages["queries"], heads(stages["x"] @ matrix["query"]))
    close(stages["keys"], heads(stages["memory"] @ matrix["key"]))
    close(stages["values"], heads(stages["memory"] @ matrix["value"]))
    close(stages["scores"], stages["queries"] @ stages["keys"].transpose(0, 2, 1))
    close(stages["heads"], stages["weights"] @ stages["values"])
    close(stages["concat"], stages["heads"].transpose(1, 0, 2).reshape(3, -1))
    close(stages["output"], stages["concat"] @ matrix["output"])
    with torch.no_grad():
        close(stages["result"], norm(torch.from_numpy(stages["residual"] + stages["output"])).numpy())


def test_stages_of_an_unknown_layer(small):
    with torch.no_grad(), allyouneed.record(small.model) as seen:
        small.model(torch.tensor([[5, 3]]), torch.tensor([[2, 8]]))
    for kind, layer in (("self", 0), ("cross", 2), ("cross", -1)):
        with pytest.raises(UserError, match=f"no layer {layer} of '{kind}' was recorded"):
            seen.stages(kind, layer)


def test_recording_a_training_step_keeps_gradients(translator):
    model = translator.model.train()
    target = torch.tensor([[2, 8, 11, 3], [2, 6, 3, 0]])
    batch = Batch(SOURCE, target)
    training = TrainingConfig(device="cpu")

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        torch.manual_seed(1)
        model.eval()  # dropout draws its random numbers in another order
        loss, _ = batch_loss(model, batch, training, torch.device("cpu"))
        loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients()
    with allyouneed.record(model) as seen:
        found = gradients()
    assert seen.encoder.shape[:2] == (1, 2)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    model.zero_grad(set_to_none=True)
    model.eval()


def test_notebook_shows_the_explorer_in_a_frame(small):
    with torch.no_grad(), allyouneed.record(small.model, small.tokenizer) as seen:
        small.model(SOURCE[:1], TARGET[:1])
    shown = seen._repr_html_()
    assert shown.startswith("<iframe")
    assert "allow-same-origin" not in shown
    assert "<script" not in shown  # the whole page is escaped
    data = seen.data()
    assert data["source"]["tokens"] == small.tokenizer.pieces(SOURCE[0].tolist())
    assert len(data["target"]["tokens"]) == data["base"]["attention"]["cross"]["shape"][2]


def test_nothing_recorded(small):
    with allyouneed.record(small.model) as seen:
        pass
    with pytest.raises(UserError, match="call the model inside"):
        _ = seen.cross


def test_only_the_recorded_model_and_thread_are_recorded(small, translator):
    def in_another_thread():
        with torch.no_grad():
            small.model(SOURCE, TARGET)

    with torch.no_grad(), allyouneed.record(small.model) as seen:
        translator.model(SOURCE, TARGET)
        thread = threading.Thread(target=in_another_thread)
        thread.start()
        thread.join()
    with pytest.raises(UserError, match="call the model inside"):
        _ = seen.cross


def test_recordings_nest_and_see_explicit_probes(small):
    with torch.no_grad(), allyouneed.record(small.model) as outer, allyouneed.record(small.model) as inner:
        attention = small.look("a dog", "the cat", stages=False)
    np.testing.assert_array_equal(inner.cross, attention.cross)
    np.testing.assert_array_equal(outer.cross, attention.cross)
