"""What table 2's Transformer is compared with: an RNN encoder-decoder with attention, made with equal care.

Encoder: a bidirectional GRU. Attention: additive (Bahdanau et al. 2015). Decoder: the conditional GRU of Nematus
(Sennrich et al. 2017), two transitions with attention between them; deep output; one matrix for embeddings and softmax.
Dropout on embeddings, the encoder's states and before the softmax, as Caglayan et al. (2017) have it on Multi30k.

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
    """What decoding keeps. state [rows, hidden]; memory [batch, source, 2 · hidden]; keys [batch, source, hidden];
    mask [batch, source], True where there is a token."""

    state: Tensor
    memory: Tensor
    keys: Tensor
    mask: Tensor

    def select(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        self.state = self.state[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drops all sentences but these; rows are dropped by `select`."""
        self.memory, self.keys, self.mask = self.memory[sentences], self.keys[sentences], self.mask[sentences]


class AdditiveAttention(nn.Module):
    """score(s, h) = v · tanh(W s + U h), a softmax over source positions, and the weighted sum of h."""

    def __init__(self, hidden: int):
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(2 * hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, state: Tensor, memory: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """state [rows, hidden], of which `rows / batch` belong to each sentence -> context [rows, 2 · hidden]."""
        queries = self.query(state).view(len(memory), -1, 1, state.shape[1])
        scores = self.score(torch.tanh(queries + keys[:, None])).squeeze(-1)
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        return (weights @ memory).flatten(0, 1)


class RecurrentTranslator(nn.Module):
    """The interface of `Transformer`: `hidden` to train, `start` and `decode_step` to search.

    `hidden` units are as many as make the number of parameters that of the Transformer with the same settings.
    """

    packable = False  # the recurrence runs over the columns of a padded batch

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
        """What the pre-softmax linear sees, given the right words so far: [batch, target, d_model]."""
        cache = self.start(source_ids)
        embedded = self._embed(target_ids)
        states, contexts = [], []
        for x in embedded.unbind(dim=1):
            contexts.append(self._advance(x, cache))
            states.append(cache.state)
        return self._read_out(torch.stack(states, dim=1), embedded, torch.stack(contexts, dim=1))

    def start(self, source_ids: Tensor) -> RecurrentCache:
        """Encodes source_ids [batch, source]; the first state is made from the mean of the encoder's."""
        mask = source_ids != self.pad_id
        lengths = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(self._embed(source_ids), lengths, batch_first=True, enforce_sorted=False)
        memory, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=source_ids.shape[1])
        memory = self.dropout(memory)
        mean = memory.sum(dim=1) / lengths.to(memory)[:, None]
        return RecurrentCache(torch.tanh(self.first(mean)), memory, self.attention.key(memory), mask)

    def decode_step(self, tokens: Tensor, cache: RecurrentCache) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]."""
        if len(cache.state) < len(tokens):  # at first a sentence has one state, now one for each hypothesis
            cache.state = cache.state.repeat_interleave(len(tokens) // len(cache.state), dim=0)
        embedded = self._embed(tokens)
        context = self._advance(embedded, cache)
        return self.output(self._read_out(cache.state, embedded, context))

    def num_parameters(self) -> int:
        """As the Transformer counts: the one matrix of words once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _advance(self, embedded: Tensor, cache: RecurrentCache) -> Tensor:
        """One position: the word said last [rows, d_model], then what the source has to say. -> context."""
        between = self.embedded(embedded, cache.state)
        context = self.attention(between, cache.memory, cache.keys, cache.mask)
        cache.state = self.attended(context, between)
        return context

    def _read_out(self, state: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.deep(torch.cat([state, embedded, context], dim=-1))))

    def _embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.tokens(ids) * self.config.d_model**0.5)

    def _initialise(self) -> None:
        """As the Transformer's; matrices between states orthogonal, so that they neither grow nor vanish at first."""
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
    """The most hidden units, a multiple of 8, with which the RNN is no larger than the Transformer; at least 8."""

    def size(hidden: int) -> int:
        return RecurrentTranslator(config, vocab_size, hidden=hidden).num_parameters()

    with torch.device("meta"):
        budget = Transformer(config, vocab_size).num_parameters()
        sizes = range(8, 4096, 8)
        return sizes[max(0, bisect_right(sizes, budget, key=size) - 1)]
