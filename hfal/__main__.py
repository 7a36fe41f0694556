"""`python -m hfal`, which `accelerate launch -m hfal` and torchrun need."""

from hfal.cli import main

main()
