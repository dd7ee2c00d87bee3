"""`python -m streams` is the `gridloom` command."""

from streams.cli import main

main()
