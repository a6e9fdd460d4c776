"""Two questions about the paper: the division by √d_k, and the masks."""
