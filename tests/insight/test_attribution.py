"""Attribution against independent computations, and on a model trained to copy, whose reasons are known."""

import copy
import json
import threading

import numpy as np
import pytest
import torch

from allyouneed import Transformer, UserError
from allyouneed.config import Config
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.attribution.attribute import METHODS, answer, attribute, fork
from allyouneed.insight.attribution.deletion import deletion_test, leave_one_out
from allyouneed.insight.attribution.gradients import integrated_gradients
from allyouneed.insight.attribution.mixing import alti, raw_attention, rollout
from allyouneed.insight.attribution.questions import attribution_data, live_attribution, row_operations
from allyouneed.insight.attribution.removal import PartialInputs, Question
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.variants.switches import Switches
from allyouneed.insight.variants.variant import TokenPair, run_pair
from allyouneed.model.probe import AttentionRecorder, Probe
from tests.insight.conftest import random_translator

SOURCE, TARGET = [17, 5, 9, 30, EOS], [BOS, 8, 21, 9]
KINDS = {
    "post": {},
    "pre": {"norm": "pre"},
    "learned": {"positions": "learned", "max_positions": 300},
    "biases": {"attention_bias": "true", "output_bias": "true", "tie_embeddings": "false"},
    "norms and sizes": {"embedding_norm": "true", "final_norm": "true", "decoder_heads": 4, "source_end": "false"},
}
LETTERS = 12  # of the copy task


def small_model(**settings) -> Transformer:
    model = random_translator(2, 2, 16, **settings).model
    with torch.no_grad():
        for x in model.parameters():
            x.add_(0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel())))
    return model


def record(model: Transformer) -> AttentionRecorder:
    recorder = AttentionRecorder(stages=True)
    model(torch.tensor([SOURCE]), torch.tensor([TARGET]), Probe((recorder,)))
    return recorder


@pytest.fixture(scope="module")
def copying() -> Transformer:
    """A model trained to copy sequences of 6 letters; token 4 + i is letter i."""
    torch.manual_seed(1)
    sizes = {"d_model": 32, "d_ff": 64, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    config = Config().override([f"model.{name}={value}" for name, value in sizes.items()])
    model = Transformer(config.model, 4 + LETTERS, plain=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(400):
        letters = torch.randint(4, 4 + LETTERS, (64, 6))
        logits = model(_with(letters, end=EOS), _with(letters, start=BOS))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), _with(letters, end=EOS).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    return model.eval().requires_grad_(False)


def _with(letters, start=None, end=None):
    column = torch.full((len(letters), 1), start if end is None else end)
    return torch.cat([letters, column] if start is None else [column, letters], dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_is_that_of_the_model(kind):
    model = small_model(**KINDS[kind])
    log_p = model(torch.tensor([SOURCE]), torch.tensor([TARGET])).log_softmax(-1)[0].detach().numpy()
    questions = [Question(position, 7 + position, 20) for position in range(4)]
    found = PartialInputs(model, SOURCE, TARGET).evaluate(np.ones((1, 9)), questions)[0]
    wanted = [log_p[position, one] - log_p[position, other] for position, one, other in questions]
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_attributions_are_complete_and_equal_finite_differences(kind):
    model = small_model(**KINDS[kind]).double()
    inputs, question = PartialInputs(model, SOURCE, TARGET), Question(2, 7, 20)
    found = integrated_gradients(inputs, [question])
    assert found.gap[0] <= 0.01
    assert found.values[0].sum() == pytest.approx(
        found.full[0] - found.baseline[0], abs=0.011 * abs(found.values).sum()
    )
    assert found.values[0, 8] == 0  # the input after the position
    coarse = integrated_gradients(inputs, [question], steps=6, max_steps=6)
    step, points = 1e-5, (np.arange(6) + 0.5) / 6
    rows = np.repeat(points[:, None, None], 9, axis=1) + np.zeros(9)
    slopes = [inputs.evaluate((rows + sign * step * np.eye(9)).reshape(-1, 9), [question]) for sign in (1, -1)]
    numeric = ((slopes[0] - slopes[1]) / (2 * step)).reshape(6, 9).mean(axis=0)
    assert coarse.values[0] == pytest.approx(numeric, abs=1e-5)


class Linear:
    """Inputs of a model whose difference is linear in the factors."""

    length = 5
    slopes = torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0])

    def batches(self, factors):
        yield torch.tensor(factors, dtype=torch.float32)

    def states(self, factors):
        return factors

    def differences(self, states, question):
        return states @ self.slopes + 0.25

    def evaluate(self, factors, questions, hidden=False):
        return self.differences(torch.tensor(factors, dtype=torch.float32), None)[:, None].numpy()

    def up_to(self, position):
        return self


def test_a_linear_model_is_attributed_exactly():
    question = Question(0, 1, 2)
    found = integrated_gradients(Linear(), [question])
    assert found.values[0] == pytest.approx(Linear.slopes.numpy(), abs=1e-6)
    assert found.steps[0] == 12
    assert leave_one_out(Linear(), [question])[0] == pytest.approx(Linear.slopes.numpy(), abs=1e-6)
    test = deletion_test(Linear(), question, {"ig": found.values[0], "worst": -found.values[0]}, every=True)
    assert test.curves["ig"] == pytest.approx([4.75, 1.75, -0.25, -0.75, -0.75, 0.25], abs=1e-6)
    assert test.until_changed("ig") == 2
    assert test.drop("ig") == pytest.approx(4.75 - np.mean([3.25, 0.75, -0.5, -0.75, -0.25]), abs=1e-6)
    assert test.drop("ig") > test.drop("random") > test.drop("worst")


def test_a_removed_token_is_one_with_an_embedding_of_zero():
    model = small_model(tie_embeddings="false").double()
    question = Question(3, 7, 20)
    found = leave_one_out(PartialInputs(model, SOURCE, TARGET), [question])[0]

    def difference(changed):
        logits = changed(torch.tensor([SOURCE]), torch.tensor([TARGET]))[0, 3]
        return (logits[7] - logits[20]).item()

    for side, ids, shift in (("source_embedding", SOURCE, 0), ("target_embedding", TARGET, len(SOURCE))):
        for position, token in enumerate(ids):
            without = copy.deepcopy(model)
            with torch.no_grad():
                getattr(without, side).tokens.weight[token] = 0
            assert found[position + shift] == pytest.approx(difference(model) - difference(without), abs=1e-9)


def test_a_hidden_token_is_one_that_is_not_there():
    model = small_model().double()
    questions = [Question(3, 7, 20)]
    factors = np.ones((2, 9))
    factors[1, 4] = 0
    shorter = PartialInputs(model, SOURCE[:4], TARGET).evaluate(np.ones((1, 8)), questions)
    assert PartialInputs(model, SOURCE, TARGET).evaluate(factors, questions, hidden=True)[1] == pytest.approx(
        shorter[0]
    )


def test_rollout_is_a_product_of_matrices():
    model = random_translator(1, 2, 16).model
    recorder = record(model)
    encoder, own, cross = (
        x[0][0].mean(dim=0).detach().numpy() for x in (recorder.encoder, recorder.decoder, recorder.cross)
    )
    source = cross @ (encoder + np.eye(5)) / 4
    prefix = (own + np.eye(4)) / 4
    assert rollout(recorder) == pytest.approx(np.concatenate([source, prefix], axis=1), abs=1e-6)
    assert raw_attention(recorder) == pytest.approx(np.concatenate([cross, own], axis=1) / 2, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_inputs_sum_to_one(kind):
    model = small_model(**KINDS[kind])
    recorder = record(model)
    for found in (alti(model, recorder), rollout(recorder), raw_attention(recorder)):
        assert found.shape == (4, 9)
        assert found.min() >= 0
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert not np.triu(found[:, 5:], 1).any()  # no share of later inputs


def shares_by_hand(parts, norm):
    """Shares of the vectors of one query, parts [part, d_model], in their normalised sum."""
    total = parts.sum(axis=0)
    centre = (np.eye(8) - 1 / 8) @ np.diag(norm.weight.detach().numpy()) / np.sqrt(total.var() + norm.eps)
    closer = [np.abs(total @ centre).sum() - np.abs((total - part) @ centre).sum() for part in parts]
    return np.maximum(closer, 0) / np.maximum(closer, 0).sum()


def test_alti_equals_shares_computed_by_hand():
    """One layer and one head; the decoder's self-attention adds nothing."""
    model = random_translator(1, 1, 8).model.double()
    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    with torch.no_grad():
        decoder.self_attention.output.weight.zero_()
        encoder.residuals[0].norm.weight.uniform_(0.5, 2)
    recorder = record(model)
    found = {}
    for kind, attention, residual in (
        ("encoder", encoder.self_attention, encoder.residuals[0]),
        ("cross", decoder.cross_attention, decoder.residuals[1]),
    ):
        stages = {name: x[0].detach().numpy() for name, x in recorder.layers(kind)[0].items()}
        moved = stages["memory"] @ (attention.output.weight @ attention.value.weight).detach().numpy().T
        rows = []
        for i, own in enumerate(stages["residual"]):
            parts = stages["weights"][0, i][:, None] * moved
            if kind == "encoder":
                parts[i] += own
                rows.append(shares_by_hand(parts, residual.norm))
            else:
                rows.append(shares_by_hand(np.concatenate([parts, own[None]]), residual.norm))
        found[kind] = np.stack(rows)
    source = found["cross"][:, :-1] @ found["encoder"]
    prefix = np.diag(found["cross"][:, -1])
    np.testing.assert_allclose(alti(model, recorder), np.concatenate([source, prefix], axis=1), atol=1e-12)


def test_the_copied_token_is_the_reason(copying):
    """In 60 questions, the letter to copy has the largest attribution of the source, and its removal decides."""
    rng = np.random.default_rng(2)
    hits, signs, ranks = {"ig": 0, "loo": 0, "alti": 0}, [], []
    for _ in range(10):
        letters = rng.choice(LETTERS, 6, replace=False) + 4
        source, target = [*letters, EOS], [BOS, *letters]
        inputs = PartialInputs(copying, source, target)
        others = [int(x) for x in rng.choice(np.setdiff1d(np.arange(4, 4 + LETTERS), letters), 6)]
        questions = [Question(i, int(letters[i]), others[i]) for i in range(6)]
        found = integrated_gradients(inputs, questions)
        dropped = leave_one_out(inputs, questions)
        recorder = AttentionRecorder(stages=True)
        copying(torch.tensor([source]), torch.tensor([target]), Probe((recorder,)))
        shares = alti(copying, recorder)
        for i, question in enumerate(questions):
            hits["ig"] += found.values[i][:7].argmax() == i
            hits["loo"] += dropped[i][:7].argmax() == i
            hits["alti"] += shares[i][:7].argmax() == i
            signs.append(min(found.values[i, i], dropped[i, i]) > 0)
            test = deletion_test(inputs, question, {"ig": found.values[i][: 8 + i]})
            ranks.append(test.drop("ig") > test.drop("random"))
    assert hits["ig"] >= 52
    assert hits["loo"] >= 57
    assert hits["alti"] >= 52
    assert np.mean(signs) >= 0.95  # not always: the model's training rounds differently on other processors
    assert np.mean(ranks) >= 0.95


def test_questions_together_equal_questions_alone(small):
    questions = [Question(1, 7, 20), Question(3, 9, 11), Question(3, 9, 30)]
    together = answer(small, SOURCE, TARGET, questions, deletion=3)
    for question, found in zip(questions, together, strict=True):
        [alone] = answer(small, SOURCE, TARGET, [question], deletion=1)
        for method in METHODS:
            assert found.values[method] == pytest.approx(alone.values[method], abs=1e-5)
        assert found.difference == pytest.approx(alone.difference, abs=1e-5)
        assert found.prefix_tokens == alone.prefix_tokens


def test_threads_share_a_translator_without_leaving_gradients(small):
    before = {name: x.clone() for name, x in small.model.state_dict().items()}
    flags = [x.requires_grad for x in small.model.parameters()]
    wanted = json.dumps(attribute(small, "a dog", "two words", "two cats").data())
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(attribute(small, "a dog", "two words", "two cats").data()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.dumps(each) for each in found] == [wanted] * 4
    assert all(x.grad is None for x in small.model.parameters())
    assert [x.requires_grad for x in small.model.parameters()] == flags
    assert all(torch.equal(x, before[name]) for name, x in small.model.state_dict().items())


def test_translations_are_compared_at_their_fork(small):
    assert fork([5, 6, 7], [5, 9]) == (Question(1, 6, 9), [BOS, 5])
    assert fork([5], [5, 9]) == (Question(1, EOS, 9), [BOS, 5])
    ids = small.tokenizer.target.encode("a dog runs")
    found = attribute(small, "한국어 문장", "runs", "and", prefix="a dog", deletion=False)
    assert found.prefix_tokens == ["<s>", *small.tokenizer.pieces(ids[:2])]
    assert found.deletion is None
    assert found.source().shape == (len(found.source_tokens),)
    assert found.prefix("loo").shape == (len(found.prefix_tokens),)
    by_id = attribute(small, "한국어 문장", np.array(ids), torch.tensor([*ids[:2], 7]), deletion=False)
    assert by_id.prefix_tokens == found.prefix_tokens
    swapped = attribute(small, "한국어 문장", "and", "runs", prefix="a dog", deletion=False)
    assert swapped.difference == pytest.approx(-found.difference)
    assert swapped.values["ig"] == pytest.approx(-found.values["ig"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("  ", "a", "b"), "the sentence is empty"),
        (("a dog", "a cat", "a cat"), "are equal"),
        (("a dog", [3, 10**6], [4]), "token ids"),
        (("a dog", [True], [-4]), "token ids"),
        (("a dog", np.array([4.0]), [5]), "token ids"),
        (("a dog " * 100, "a", "b"), "the limit is 128"),
        (("a dog", "a dog " * 100 + "a", "a dog " * 100 + "b"), "the limit is 128"),
    ],
)
def test_impossible_questions_are_user_errors(small, arguments, message):
    with pytest.raises(UserError, match=message):
        attribute(small, *arguments)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script> & \"'", "\u202eשלום\u202c مرحبا", "👨‍👩‍👧 \x00 a", "e\u0301" * 9]
)
def test_hostile_text_is_answered(small, text):
    found = attribute(small, text, "a dog", "a cat").data()
    json.dumps(found, allow_nan=False)
    assert "<script" not in attribute(small, text, "a dog", "a cat", deletion=False)._repr_html_()
    assert len(found["values"]["ig"]) == len(found["values"]["alti"])


def test_a_page_answers_forks_and_runners_up(small):
    data = explorer_data(small, "a dog runs in the park", switches=[])
    questions = data["attribution"]["questions"]
    assert len(json.dumps(data["attribution"])) <= 80_000
    best = data["target"]["tokens"]
    asked = set()
    for each in questions:
        assert each["prefix"] == data["target"]["inputs"][: each["position"] + 1]
        assert best[each["position"]] in (each["candidate"], each["instead_of"])
        assert each["difference"] >= 0
        asked.add(each["position"])
        [other] = {each["candidate"], each["instead_of"]} - {best[each["position"]]}
        live = live_attribution(small, data["text"], [*each["prefix"][1:], other], best)
        assert (live["candidate"], live["instead_of"]) == (each["candidate"], each["instead_of"])
        assert live["difference"] == pytest.approx(each["difference"], abs=1e-3)
        assert live["values"]["loo"] == pytest.approx(each["values"]["loo"], abs=1e-3)
    assert asked == set(range(len(best)))


def test_the_selection_follows_the_budget(small):
    pair = TokenPair(SOURCE, TARGET[1:])
    base = run_pair(small, pair, Switches(), stages=True)
    row = row_operations(small.model.config, len(SOURCE), len(TARGET))
    counts = []
    for rows in (10, 100, 200, 3000):
        questions = attribution_data(small, pair, base, [], budget=rows * row)["questions"]
        counts.append((len(questions), sum(each["deletion"] is not None for each in questions)))
    assert counts[0] == (0, 0)
    assert counts[1] == (2, 1)
    assert (8, 8) > counts[2] > counts[1]
    assert counts[3] == (8, 8)
    long = TokenPair([5] * 129, TARGET[1:])
    assert attribution_data(small, long, base, []) is None
