"""The repository format as pure functions of bytes: no I/O, no time (docs/format.md)."""
