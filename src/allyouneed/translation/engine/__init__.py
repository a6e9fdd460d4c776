"""The compiled CPU decoder: encoder, decoder, greedy and beam search in Numba kernels."""
