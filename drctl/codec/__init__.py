"""The repository format as pure functions of bytes: no I/O, no time (docs/format.md)."""

import msgspec

# What msgspec raises on bytes that it cannot read: wrong text and deep nesting have errors of
# their own.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError)
