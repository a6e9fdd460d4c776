"""Statistics of every head over a corpus and over training."""
