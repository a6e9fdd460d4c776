"""Parallel text to token ids to batches."""
