"""Data pipeline: from parallel text to token ids to batches."""
