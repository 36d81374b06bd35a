"""How a run is shown: to a person at a terminal, to a log, to a program."""
