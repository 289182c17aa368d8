"""`python -m drsearch` is `drsearch`."""

from drsearch.cli import main

main()
