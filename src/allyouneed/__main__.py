"""`python -m allyouneed`, and what torchrun starts."""

from allyouneed.cli import main

main()
