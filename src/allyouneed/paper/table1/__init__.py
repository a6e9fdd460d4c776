"""Table 1: measured cost of its layers."""
