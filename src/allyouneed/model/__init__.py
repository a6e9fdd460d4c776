"""The Transformer: token ids in, logits out (section 3 of the paper)."""
