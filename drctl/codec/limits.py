"""Numbers of format v1. They bound what a decoder will allocate, and never change for v1."""

FORMAT_VERSION = 1
MIB = 1 << 20

SMALL_BYTES = 512 * 1024  # up to here a file is one blob
CHUNK_MIN_BYTES, CHUNK_AVERAGE_BYTES, CHUNK_MAX_BYTES = 256 * 1024, MIB, 4 * MIB
SEGMENT_TARGET_BYTES = MIB  # a segment is closed once it holds so much
SEGMENT_MAX_BYTES = 16 * MIB  # a decoder refuses more
PACK_TARGET_BYTES = 16 * MIB
TABLE_MAX_BYTES = 1 << 30  # of a decompressed index or table of contents
LOG_PIECE_MAX_BYTES = 16 * MIB  # pieces of a log also end at multiples of it
INDIRECT_IDS = 2048  # a longer list of blobs is itself cut into blobs of so many ids
