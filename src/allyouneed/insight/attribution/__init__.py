"""Why the model prefers one token over another, and how faithful each explanation is."""
