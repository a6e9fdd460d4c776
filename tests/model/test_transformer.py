import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty, greedy
from tests.model.oracles import close, from_marian, marian, randomise

VOCAB, PAD = 50, 0
SHAPES = {
    "post": {},
    "pre": {"norm": "pre"},
    "learned": {"positions": "learned", "max_positions": 32},
    "free widths": {"d_k": 6, "d_v": 10, "encoder_layers": 3, "decoder_layers": 1},
    "untied": {"tie_embeddings": False},
    "fairseq": {
        **{"activation": "gelu", "embedding_norm": True, "scale_embeddings": False, "norm_epsilon": 1e-3},
        **{"sinusoid_frequencies": "tensor2tensor", "first_position": 2, "tie_embeddings": "inputs"},
        **{"decoder_d_ff": 40, "decoder_heads": 2, "final_norm": True, "feed_forward_bias": False},
    },
}


def config(**changes) -> ModelConfig:
    return ModelConfig(
        **{
            "d_model": 32,
            "d_ff": 48,
            "num_heads": 4,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "dropout": 0.0,
            **changes,
        }
    )


@pytest.fixture(params=SHAPES)
def model(request):
    torch.manual_seed(0)
    model = Transformer(config(**SHAPES[request.param]), VOCAB).eval()
    randomise(model)
    return model


def ids(*lengths: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    padded = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        padded[row, :length] = torch.randint(4, VOCAB, (length,))
    return padded


def test_results_do_not_depend_on_padding_or_the_batch(model):
    source, target = ids(4, 9, 6), ids(5, 8, 3, seed=1)
    together = model(source, target)
    for row, (source_length, target_length) in enumerate([(4, 5), (9, 8), (6, 3)]):
        alone = model(source[row : row + 1, :source_length], target[row : row + 1, :target_length])
        assert close(together[row : row + 1, :target_length], alone)


def test_the_end_of_the_source_can_be_hidden():
    torch.manual_seed(0)
    model, seeing = (Transformer(config(source_end=end), VOCAB).eval() for end in (False, True))
    randomise(model)
    seeing.load_state_dict(model.state_dict())
    source, target = ids(4, 9, 1), ids(5, 8, 3, seed=1)
    found = model(source, target)
    for row, length in enumerate([3, 8, 1]):  # a sentence has at least one token
        assert close(found[row], seeing(source[row : row + 1, :length], target[row : row + 1])[0])
    assert not close(found[1], seeing(source, target)[1])


def test_gradients_do_not_reach_later_positions(model):
    source, target = ids(6), ids(7, seed=1)
    memory, mask = model.encode(source)
    embedded = model.target_embedding(target).detach().requires_grad_()
    future = torch.ones(7, 7, dtype=torch.bool).tril()
    hidden = model.decoder(embedded, memory, future, mask)
    for position in range(7):
        (gradient,) = torch.autograd.grad(hidden[0, position].sum(), embedded, retain_graph=True)
        assert (gradient[0, position + 1 :] == 0).all()
        assert gradient[0, : position + 1].abs().sum(-1).min() > 0


def test_later_tokens_do_not_change_earlier_logits(model):
    source, target = ids(6), ids(7, seed=1)
    changed = target.clone()
    changed[0, 4:] = 5
    assert torch.equal(model(source, target)[:, :4], model(source, changed)[:, :4])


def test_cached_decoding_equals_uncached(model):
    source, target = ids(4, 9), ids(6, 6, seed=1)
    whole = model(source, target)
    cache = model.start(source)
    steps = [model.decode_step(target[:, position], cache) for position in range(6)]
    assert close(torch.stack(steps, dim=1), whole)


def test_cached_decoding_of_several_hypotheses_and_reordering(model):
    source, target = ids(4, 9), ids(6, 6, 6, 6, seed=1)  # two hypotheses per sentence
    whole = model(source.repeat_interleave(2, dim=0), target)
    cache = model.start(source)
    first = [model.decode_step(target[:, position], cache) for position in range(3)]
    swap = torch.tensor([1, 0, 3, 2])
    cache.select(swap)
    rest = [model.decode_step(target[swap, position], cache) for position in range(3, 6)]
    assert close(torch.stack(first, dim=1), whole[:, :3])
    assert close(torch.stack(rest, dim=1), whole[swap, 3:])


def test_recording_every_head_keeps_the_output(model):
    source, target = ids(4, 9), ids(6, 5, seed=1)
    expected = model(source, target)
    recorded = AttentionRecorder()
    assert close(model(source, target, Probe((recorded,))), expected)
    heads, decoder_heads = model.config.num_heads, model.config.decoder.heads
    assert [w.shape for w in recorded.encoder] == [(2, heads, 9, 9)] * model.config.encoder_layers
    assert [w.shape for w in recorded.decoder] == [(2, decoder_heads, 6, 6)] * model.config.decoder_layers
    assert [w.shape for w in recorded.cross] == [(2, decoder_heads, 6, 9)] * model.config.decoder_layers


def test_recording_a_decoding_step_gives_the_weights_of_the_last_position(model):
    source, target = ids(4, 9), ids(6, 6, seed=1)
    whole, stepwise = AttentionRecorder(stages=True), AttentionRecorder(stages=True)
    model(source, target, Probe((whole,)))
    cache = model.start(source, Probe((stepwise,)))
    for position in range(6):
        model.decode_step(target[:, position], cache, Probe((stepwise,)))
    for kind in ("decoder", "cross"):
        for one, other in zip(stepwise.weights(kind), whole.weights(kind), strict=True):
            assert close(one, other[:, :, -1:])
    assert close(stepwise.layers("cross")[0]["memory"], whole.layers("cross")[0]["memory"])
    assert torch.equal(whole.source_ids, source)


def test_the_reference_implementation_agrees(model):
    plain = Transformer(model.config, VOCAB, plain=True).eval()
    plain.load_state_dict(model.state_dict())
    source, target = ids(4, 9), ids(6, 5, seed=1)
    assert close(plain(source, target), model(source, target))


@pytest.mark.parametrize("plain", [False, True])
def test_source_of_padding_has_finite_logits_and_gradients(plain):
    model = Transformer(config(), VOCAB, plain=plain)
    logits = model(torch.tensor([[0, 0, 0], [4, 5, 6]]), torch.tensor([[2, 5], [2, 6]]))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("plain", [False, True])
def test_an_empty_batch_gives_an_empty_result(plain):
    model = Transformer(config(), VOCAB, plain=plain).eval()
    empty = torch.zeros(0, 3, dtype=torch.long)
    assert model(empty, empty).shape == (0, 3, VOCAB)
    assert model(empty, empty, Probe((AttentionRecorder(),))).shape == (0, 3, VOCAB)
    cache = model.start(empty)
    assert model.decode_step(empty[:, 0], cache).shape == (0, VOCAB)
    with torch.inference_mode():
        assert beam_search(model, empty, [], 2, LengthPenalty(0.6)) == greedy(model, empty, []) == []


def test_torch_compile_traces_the_whole_model():
    model = Transformer(config(), VOCAB, plain=True).eval()
    source, target = ids(4), ids(5, seed=1)
    expected = model(source, target)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert close(compiled(source, target), expected)


def test_agrees_with_marian():
    shape = config(attention_bias=True)
    theirs = marian(shape, VOCAB, PAD)
    ours = from_marian(theirs, shape, VOCAB, PAD)
    source, target = ids(4, 9, 6), ids(7, 7, 7, seed=1)
    expected = theirs(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target).logits
    assert close(ours(source, target), expected)


def test_tied_embeddings_and_output():
    tied = Transformer(config(), VOCAB)
    assert tied.output.weight is tied.source_embedding.tokens.weight is tied.target_embedding.tokens.weight
    untied = Transformer(config(tie_embeddings=False), VOCAB)
    assert untied.num_parameters() - tied.num_parameters() == 2 * VOCAB * 32


def test_two_vocabularies_cannot_share_one_matrix():
    with pytest.raises(ValueError, match="vocabularies of 50 and 40 tokens cannot share one matrix"):
        Transformer(config(), VOCAB, target_vocab_size=40)
    model = Transformer(config(tie_embeddings="target"), VOCAB, target_vocab_size=40).eval()
    assert model(ids(4), torch.tensor([[2, 5, 39]])).shape == (1, 3, 40)
