"""`python -m primer`, the same as `primer`."""

from primer.cli import main

main()
