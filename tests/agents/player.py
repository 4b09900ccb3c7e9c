"""Starts `scripted`: as a module of its own it is compiled once, and not at each start."""

import sys

# Behind the library: `-I` leaves out the directory of this file, and the agent needs nothing else of it.
sys.path.append(__file__.rpartition("/")[0])

from scripted import main  # type: ignore[import-not-found]

main()
