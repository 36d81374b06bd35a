"""The command line: one file a command, and `main.py` that maps errors to exit codes."""
