"""Learning rate schedule and time: the plan of a run, and how it keeps to its minutes."""
