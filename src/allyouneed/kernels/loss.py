"""The pre-softmax linear, the softmax, the loss of the right words and its gradients, a few rows at a time.

A thread's rows of logits stay in its own cache from the first product to the last. The words' embeddings are laid out
once a step for both products; PyTorch's would lay them out again for each chunk of rows. Where they are wide, both
layouts outgrow the cache, which each few rows would read again: then the products are `matmul`'s, of all rows at once.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from allyouneed.kernels import LANES, Mode, multiplies
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.matmul import matmul
from allyouneed.kernels.product import PANEL, multiply_floats
from allyouneed.kernels.simd import (
    each,
    exp,
    get,
    get_long,
    larger,
    largest,
    load,
    log,
    multiply_add,
    put,
    store,
    total,
    transpose,
    whole_lanes,
)

_ROWS = 16  # a part: two tiles
_WORDS = 512  # whose gradients are summed at a time: sums of sums err less


class WordLoss:
    """Cross-entropy of hidden states with these words' embeddings, against a distribution of three parts: `certain` on
    the right word, `uniform` on every word, and `share` of what a teacher says.

    weight [vocabulary, d_model]; rows: the most that come at once; parts: these three; of_teacher [vocabulary, d of the
    teacher], or None where it has no share. All fp32, sizes of a row a multiple of 16.
    """

    def __init__(self, weight: Tensor, rows: int, parts: tuple[float, float, float], of_teacher: Tensor | None):
        self._words, self._depth = weight.shape
        self._parts = parts
        self._weight, self._of_teacher = weight, of_teacher
        given = [weight] if of_teacher is None else [weight, of_teacher]
        self._wide = multiplies(rows, weight, *given)
        self._room = torch.empty(rows, whole_lanes(self._words))
        self._zeros = torch.zeros(max(self._room.shape[1], self._depth))
        self._room_of_teacher = self._room if of_teacher is None else torch.empty_like(self._room)
        if not self._wide:
            self._to_words, self._to_hidden = lay_out(weight)
            self._to_words_of_teacher = self._zeros if of_teacher is None else lay_out(of_teacher)[0]

    def __call__(
        self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, taught: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [rows, d_model], targets [rows]; grad_hidden like hidden, to be written, or None; taught: the
        teacher's hidden [rows, its d], or None.

        -> d loss / d logits [rows, vocabulary] = p - certain · onehot - uniform - share · teacher's p, which the next
        call overwrites, and the sums of the loss and of the negative log likelihood, in nats.
        """
        rows, words, wide = len(hidden), self._words, self._wide
        logits, logits_of_teacher = self._room[:rows], self._room_of_teacher[:rows]
        losses = torch.empty(2, rows)
        if wide:
            matmul(hidden, self._weight.T, out=logits)
            if taught is not None and self._of_teacher is not None:
                matmul(taught, self._of_teacher.T, out=logits_of_teacher)
        _word_loss(
            -(-rows // _ROWS),
            hidden,
            rows,
            self._depth,
            0 if wide else self._to_words,
            words,
            logits.shape[1],
            self._zeros,
            targets,
            *map(float, self._parts),
            logits,
            losses,
            0 if wide or grad_hidden is None else self._to_hidden,
            0 if grad_hidden is None else grad_hidden,
            0 if taught is None else taught,
            0 if taught is None else taught.shape[1],
            0 if wide or taught is None else self._to_words_of_teacher,
            logits_of_teacher,
        )
        if wide and grad_hidden is not None:
            matmul(logits, self._weight, out=grad_hidden)
        return logits[:, :words], losses[0].sum(), losses[1].sum()


def lay_out(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [vocabulary, d_model] -> `panels(weight)`, and `panels` of each 512 words' transpose, one after another.

    In one pass, since it is done once a step. What fills the vocabulary up to 16s has no meaning.
    """
    words, depth = weight.shape
    to_words, to_hidden = torch.empty(whole_lanes(words) * depth), torch.empty(words * depth)
    _lay_out(-(-words // PANEL), weight.contiguous(), words, depth, to_words, to_hidden)
    return to_words, to_hidden


@kernel
def _lay_out(part, weight, words, depth, to_words, to_hidden):
    begin = part * PANEL
    width = min(PANEL, whole_lanes(words) - begin)
    for d in range(0, depth, LANES):
        for word in range(begin, begin + width, LANES):
            place, last = word * depth + d, (words - 1) * depth + d
            transpose(weight, place, depth, last, to_words, begin * depth + d * width + word - begin, width)
    for word in range(begin, min(words, begin + PANEL)):
        first = word // _WORDS * _WORDS
        some = min(_WORDS, words - first)
        for d in range(0, depth, LANES):
            panel = d // PANEL * PANEL
            line = first * depth + panel * some + (word - first) * min(PANEL, depth - panel)
            store(to_hidden, line + d - panel, load(weight, word * depth + d))


@kernel
def _word_loss(
    part,
    hidden,
    rows,
    depth,
    to_words,
    words,
    room,
    zeros,
    targets,
    certain: float,
    uniform: float,
    share: float,
    logits,
    losses,
    to_hidden,
    grad_hidden,
    taught,
    depth_of_teacher,
    to_words_of_teacher,
    logits_of_teacher,
):
    """A few rows. Products whose laid out words are not given (0) are there already, or somebody else's."""
    begin = part * _ROWS
    count = min(_ROWS, rows - begin)
    first_row, lines = 4 * begin * depth, logits + 4 * begin * room
    if to_words:
        multiply_floats(hidden + first_row, depth, count, to_words, depth, zeros, 0, room, lines, room, Mode.SET)
    if to_words_of_teacher:
        d, to = depth_of_teacher, logits_of_teacher + 4 * begin * room
        multiply_floats(taught + 4 * begin * d, d, count, to_words_of_teacher, d, zeros, 0, room, to, room, Mode.SET)
    for row in range(begin, begin + count):
        line, line_of_teacher, like_teacher = logits + 4 * row * room, logits_of_teacher + 4 * row * room, 0.0
        if depth_of_teacher:
            like_teacher = _share_of_teacher(line_of_teacher, line, words, share)
        loss, nll = _softmax_gradient(line, words, get_long(targets, row), certain, uniform)
        if depth_of_teacher:
            _subtract(line, line_of_teacher, words)
        put(losses, row, loss - like_teacher)
        put(losses, rows + row, nll)
    if to_hidden:
        grads = grad_hidden + first_row
        for word in range(0, words, _WORDS):
            some, mode = min(_WORDS, words - word), Mode.ADD if word else Mode.SET
            here = to_hidden + 4 * word * depth
            multiply_floats(lines + 4 * word, room, count, here, some, zeros, 0, depth, grads, depth, mode)


@njit
def _share_of_teacher(line, logits, words, share):
    """A row of the teacher's logits becomes its probabilities times its share. -> their product with our logits."""
    whole = words // LANES * LANES
    top = each(get(line, 0))
    for place in range(0, whole, LANES):
        top = larger(top, load(line, place))
    highest = largest(top)
    for place in range(whole, words):
        highest = max(highest, get(line, place))
    normaliser = _exponentials(line, words, highest)
    scale, likeness = share / normaliser, each(0.0)
    for place in range(0, whole, LANES):
        these = load(line, place) * each(scale)
        store(line, place, these)
        likeness = multiply_add(these, load(logits, place), likeness)
    result = total(likeness)
    for place in range(whole, words):
        put(line, place, get(line, place) * scale)
        result += get(line, place) * get(logits, place)
    return result


@njit
def _exponentials(line, words, highest):
    """A row of logits becomes exp(logit - highest). -> their sum."""
    whole = words // LANES * LANES
    summed = each(0.0)
    for place in range(0, whole, LANES):
        these = exp(load(line, place) - highest)
        store(line, place, these)
        summed = summed + these
    normaliser = total(summed)
    for place in range(whole, words):
        this = largest(exp(each(get(line, place) - highest)))
        put(line, place, this)
        normaliser += this
    return normaliser


@njit
def _subtract(line, other, words):
    whole = words // LANES * LANES
    for place in range(0, whole, LANES):
        store(line, place, load(line, place) - load(other, place))
    for place in range(whole, words):
        put(line, place, get(line, place) - get(other, place))


@njit
def _softmax_gradient(line, words, target, certain, uniform):
    """A row of logits becomes the loss's gradient by them. -> the smoothed loss, the negative log likelihood."""
    whole = words // LANES * LANES
    top, summed = each(get(line, 0)), each(0.0)
    for place in range(0, whole, LANES):
        these = load(line, place)
        top, summed = larger(top, these), summed + these
    highest, sum_of_logits = largest(top), total(summed)
    for place in range(whole, words):
        highest, sum_of_logits = max(highest, get(line, place)), sum_of_logits + get(line, place)
    right = get(line, target)
    normaliser = _exponentials(line, words, highest)
    scale = 1 / normaliser
    for place in range(0, whole, LANES):
        store(line, place, multiply_add(load(line, place), each(scale), each(-uniform)))
    for place in range(whole, words):
        put(line, place, get(line, place) * scale - uniform)
    put(line, target, get(line, target) - certain)
    log_normaliser = highest + log(normaliser)
    return log_normaliser - certain * right - uniform * sum_of_logits, log_normaliser - right
