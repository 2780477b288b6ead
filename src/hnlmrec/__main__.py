"""``python -m hnlmrec``."""

from hnlmrec.cli import main

main()
