"""What a run shows and records: terminal, log, curves and report."""
