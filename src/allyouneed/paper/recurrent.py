"""The RNN encoder-decoder with attention that table 2 compares with the Transformer.

Encoder: a bidirectional GRU. Attention: additive (Bahdanau et al. 2015). Decoder: the conditional GRU of Nematus
(Sennrich et al. 2017), two transitions with attention between them, and deep output; one matrix for embeddings and
softmax. Dropout is applied to embeddings, to encoder states and before the softmax, as in Caglayan et al. (2017).

Shapes: batch; source, target: positions; d_model: width of embeddings; hidden: width of states; rows = batch · beam.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from allyouneed.config import ModelConfig
from allyouneed.model.dropout import Dropout
from allyouneed.model.transformer import Transformer


@dataclass
class RecurrentCache:
    """Decoding state.

    Attributes:
        state: Decoder state of each hypothesis, shape [rows, hidden].
        memory: Encoder states, shape [batch, source, 2 · hidden].
        keys: Projected encoder states, shape [batch, source, hidden].
        mask: True where there is a token, shape [batch, source].
    """

    state: Tensor
    memory: Tensor
    keys: Tensor
    mask: Tensor

    def select(self, rows: Tensor) -> None:
        """Replace row i by row `rows[i]`, for all i."""
        self.state = self.state[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Keep only the memory of these sentences; `select` keeps their rows."""
        self.memory, self.keys, self.mask = self.memory[sentences], self.keys[sentences], self.mask[sentences]


class AdditiveAttention(nn.Module):
    """Additive attention: score(s, h) = v · tanh(W s + U h), softmax over the source, weighted sum of h."""

    def __init__(self, hidden: int):
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(2 * hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, state: Tensor, memory: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Compute the context of each state.

        Args:
            state: Decoder states, shape [rows, hidden]; the rows of a sentence are contiguous.
            memory: Encoder states, shape [batch, source, 2 · hidden].
            keys: Projected encoder states, shape [batch, source, hidden].
            mask: True where there is a token, shape [batch, source].

        Returns:
            Contexts, shape [rows, 2 · hidden].
        """
        queries = self.query(state).view(len(memory), -1, 1, state.shape[1])
        scores = self.score(torch.tanh(queries + keys[:, None])).squeeze(-1)
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        return (weights @ memory).flatten(0, 1)


class RecurrentTranslator(nn.Module):
    """RNN with the interface of `Transformer` that training (`hidden`) and search (`start`, `decode_step`) use.

    Args:
        config: Settings of the Transformer to compare with; only d_model and dropout are used directly.
        vocab_size: Size of the joint vocabulary.
        pad_id: Id of padding.
        hidden: Width of states; None gives as many parameters as the Transformer has.
        plain: Use PyTorch's dropout.
    """

    packable = False  # the recurrence runs over the columns of a padded batch
    variant = "recurrent"

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        pad_id: int = 0,
        hidden: int | None = None,
        plain: bool = False,
    ):
        super().__init__()
        self.plain = plain
        self.config, self.vocab_size, self.pad_id = config, vocab_size, pad_id
        hidden = hidden or equal_hidden(config, vocab_size)
        width = config.d_model
        self.tokens = nn.Embedding(vocab_size, width)
        self.encoder = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * hidden, hidden)
        self.embedded = nn.GRUCell(width, hidden)
        self.attention = AdditiveAttention(hidden)
        self.attended = nn.GRUCell(2 * hidden, hidden)
        self.deep = nn.Linear(hidden + width + 2 * hidden, width)
        self.output = nn.Linear(width, vocab_size, bias=False)
        self.output.weight = self.tokens.weight
        self.dropout = Dropout(config.dropout, plain)
        self._initialise()

    def hidden(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """Compute the input of the pre-softmax linear with teacher forcing.

        Args:
            source_ids: Padded sources, shape [batch, source].
            target_ids: Padded targets from BOS on, shape [batch, target].

        Returns:
            Decoder outputs, shape [batch, target, d_model].
        """
        cache = self.start(source_ids)
        embedded = self._embed(target_ids)
        states, contexts = [], []
        for x in embedded.unbind(dim=1):
            contexts.append(self._advance(x, cache))
            states.append(cache.state)
        return self._read_out(torch.stack(states, dim=1), embedded, torch.stack(contexts, dim=1))

    def start(self, source_ids: Tensor) -> RecurrentCache:
        """Encode sources; the first decoder state is a projection of the mean encoder state.

        Args:
            source_ids: Padded sources, shape [batch, source].

        Returns:
            The cache, with one row per sentence.
        """
        mask = source_ids != self.pad_id
        lengths = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(self._embed(source_ids), lengths, batch_first=True, enforce_sorted=False)
        memory, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=source_ids.shape[1])
        memory = self.dropout(memory)
        mean = memory.sum(dim=1) / lengths.to(memory)[:, None]
        return RecurrentCache(torch.tanh(self.first(mean)), memory, self.attention.key(memory), mask)

    def decode_step(self, tokens: Tensor, cache: RecurrentCache) -> Tensor:
        """Compute the logits of the next token of every hypothesis.

        Args:
            tokens: Last token of every hypothesis, shape [rows].
            cache: Decoding state, which is updated.

        Returns:
            Logits, shape [rows, vocab].
        """
        if len(cache.state) < len(tokens):  # after `start` there is one state per sentence, not per hypothesis
            cache.state = cache.state.repeat_interleave(len(tokens) // len(cache.state), dim=0)
        embedded = self._embed(tokens)
        context = self._advance(embedded, cache)
        return self.output(self._read_out(cache.state, embedded, context))

    def num_parameters(self) -> int:
        """Count parameters; the shared embedding matrix counts once, as in `Transformer.num_parameters`."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _advance(self, embedded: Tensor, cache: RecurrentCache) -> Tensor:
        """Update the state with the previous token [rows, d_model] and the context, and return the context."""
        between = self.embedded(embedded, cache.state)
        context = self.attention(between, cache.memory, cache.keys, cache.mask)
        cache.state = self.attended(context, between)
        return context

    def _read_out(self, state: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.deep(torch.cat([state, embedded, context], dim=-1))))

    def _embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.tokens(ids) * self.config.d_model**0.5)

    def _initialise(self) -> None:
        """Initialise as the Transformer does; recurrent matrices are orthogonal, so that states keep their norm."""
        for name, parameter in self.named_parameters():
            if "tokens" in name or name == "output.weight":
                nn.init.normal_(parameter, std=self.config.d_model**-0.5)
            elif "weight_hh" in name:
                for gate in parameter.data.chunk(3):
                    nn.init.orthogonal_(gate)
            elif parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)


def equal_hidden(config: ModelConfig, vocab_size: int) -> int:
    """Find the width of states with which the RNN has as many parameters as the Transformer.

    Args:
        config: Settings of the Transformer.
        vocab_size: Size of the joint vocabulary.

    Returns:
        The largest multiple of 8 with which the RNN is not larger than the Transformer; at least 8.
    """

    def size(hidden: int) -> int:
        return RecurrentTranslator(config, vocab_size, hidden=hidden).num_parameters()

    with torch.device("meta"):
        budget = Transformer(config, vocab_size).num_parameters()
        sizes = range(8, 4096, 8)
        return sizes[max(0, bisect_right(sizes, budget, key=size) - 1)]
