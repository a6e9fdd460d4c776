"""Entry point of `python -m allyouneed`, which torchrun also uses."""

from allyouneed.cli import main

main()
