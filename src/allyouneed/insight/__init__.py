"""What the heads do, and what each part of attention is for: figures 1 to 5 of the paper, to be played with."""
