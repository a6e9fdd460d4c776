"""Table 1: what a layer of each kind costs, measured."""
