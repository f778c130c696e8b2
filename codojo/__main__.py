"""`python -m codojo` is the `codojo` command."""

from codojo.cli import main

main()
