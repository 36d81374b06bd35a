"""Reads a repository of format version 1 with nothing of drctl: written from docs/format.md alone.

It is short rather than quick, and refuses whatever is not as the document says.
"""

import json
import struct
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha3_256, sha256
from hmac import digest as hmac
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

FIELDS = ("path", "kind", "mode", "uid", "gid", "mtime_ns", "size", "blobs", "indirect", "link",
          "device", "xattrs", "extents", "problem")  # fmt: skip


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869) with SHA-256."""
    out, last = b"", b""
    while len(out) < length:
        last = hmac(key, last + info + bytes([len(out) // 32 + 1]), "sha256")
        out += last
    return out[:length]


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return expand(hmac(salt, key, "sha256"), info, 32)


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """HPKE, base mode, single shot: MLKEM768-X25519 (X-Wing), HKDF-SHA256, AES-256-GCM."""
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(private[:64])
    x25519 = X25519PrivateKey.from_private_bytes(private[64:])
    share = sealed[1088:1120]
    both = ml_kem.decapsulate(sealed[:1088]) + x25519.exchange(
        X25519PublicKey.from_public_bytes(share)
    )
    public = x25519.public_key().public_bytes_raw()
    secret = sha3_256(both + share + public + b"\\.//^\\").digest()
    suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 2)

    def extract(salt: bytes, label: bytes, value: bytes) -> bytes:
        return hmac(salt or bytes(32), b"HPKE-v1" + suite + label + value, "sha256")

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    key = extract(secret, b"secret", b"")

    def derive(label: bytes, length: int) -> bytes:
        return expand(key, struct.pack(">H", length) + b"HPKE-v1" + suite + label + context, length)

    return AESGCM(derive(b"key", 32)).decrypt(derive(b"base_nonce", 12), sealed[1120:], b"")


def unzstd(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed)


class Reader:
    """A repository in a directory, opened with an identity file and its passphrase."""

    def __init__(self, top: Path, identity_file: Path, passphrase: str) -> None:
        self.top = top
        self.config = json.loads((top / "config").read_bytes())
        assert self.config["format"] == 1
        self.id = bytes.fromhex(self.config["repository"])
        self._open_identity(json.loads(identity_file.read_text()), passphrase)
        keys = self._sealed(f"keys/{self.fingerprint}", b"DRCTLK01")
        self.blob_key, self.meta_key = keys[:32], keys[32:]
        self._check_mark()
        self.blobs: dict[bytes, tuple[str, bytes, int, int, int, int, int, int, int]] = {}
        self.data_keys: dict[bytes, AESGCM] = {}
        self._read_tables()

    def _open_identity(self, file: dict[str, Any], passphrase: str) -> None:
        assert file["format"] == "drctl identity 1"
        cost, sealed = file["argon2id"], b64decode(file["sealed"])
        key = Argon2id(
            salt=b64decode(cost["salt"]),
            length=32,
            iterations=cost["iterations"],
            lanes=cost["lanes"],
            memory_cost=cost["memory_kib"],
        ).derive(passphrase.encode())
        bound = (file["format"] + file["name"]).encode()
        self.private = AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)
        public = b64decode(file["recipient"]["public"])
        ml_kem = MLKEM768PrivateKey.from_seed_bytes(self.private[:64]).public_key()
        x25519 = X25519PrivateKey.from_private_bytes(self.private[64:]).public_key()
        assert public == ml_kem.public_bytes_raw() + x25519.public_bytes_raw()
        self.fingerprint = sha256(public).hexdigest()[:16]

    def _sealed(self, name: str, magic: bytes) -> bytes:
        """A secret that was sealed to recipients."""
        data = (self.top / name).read_bytes()
        assert data[:8] == magic
        assert sha256(data[:-32]).digest() == data[-32:]
        document = msgspec.msgpack.decode(data[8:-32])
        assert document["repository"] == self.id
        assert document["id"].hex() == name.rpartition("/")[2]
        info = magic + self.id + document["id"]
        return hpke_open(self.private, document["to"][self.fingerprint], info)

    def _check_mark(self) -> None:
        document = {key: value for key, value in self.config.items() if key != "mark"}
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        mark = blake3(b"drctl mark" + text, key=self.meta_key).hexdigest()
        assert mark == self.config["mark"]

    def _object(self, name: str) -> bytes:
        data = (self.top / name).read_bytes()
        assert sha256(data).hexdigest() == name.rpartition("/")[2]
        return data

    def _meta(self, data: bytes, magic: bytes) -> Any:
        assert data[:8] == magic
        key = hkdf(self.meta_key, data[8:40], b"drctl metadata" + magic + self.id)
        return msgspec.msgpack.decode(
            unzstd(AESGCM(key).decrypt(bytes(12), data[40:], magic + self.id))
        )

    # -- tables -------------------------------------------------------------------------------

    def _read_tables(self) -> None:
        named = set()
        for path in (self.top / "index").glob("*"):
            table = self._meta(self._object(f"index/{path.name}"), b"DRCTLI01")
            packs = [table[1][i : i + 32].hex() for i in range(0, len(table[1]), 32)]
            named.update(packs)
            self._add(table, packs)
        for path in (self.top / "packs").glob("*/*"):
            if path.name not in named:
                self._add(self._contents(f"packs/{path.name[:2]}/{path.name}"), [path.name])

    def _contents(self, name: str) -> Any:
        data = self._object(name)
        length, magic = struct.unpack("<I8s", data[-12:])
        assert magic == data[:8] == b"DRCTLP01"
        return self._meta(data[-12 - length : -12], b"DRCTLT01")

    def _add(self, table: list[bytes], packs: list[str]) -> None:
        def column(i: int, code: str) -> tuple[int, ...]:
            return struct.unpack(f"<{len(table[i]) // struct.calcsize('<' + code)}{code}", table[i])

        sessions = [table[0][i : i + 16] for i in range(0, len(table[0]), 16)]
        where = [p for p, n in zip(packs, column(2, "I"), strict=True) for _ in range(n)]
        places = zip(where, column(3, "I"), column(4, "Q"), column(5, "I"), column(6, "I"),
                     column(7, "I"), table[8], column(9, "I"), strict=True)  # fmt: skip
        lengths, at = column(11, "I"), 0
        for pack, session, number, offset, stored, raw, compression, count in places:
            start = 0
            for i in range(at, at + count):
                place = (number, offset, stored, raw, compression, start, lengths[i])
                self.blobs[table[10][i * 32 : i * 32 + 32]] = (pack, sessions[session], *place)
                start += lengths[i]
            at += count

    # -- content ------------------------------------------------------------------------------

    def blob(self, blob_id: bytes) -> bytes:
        pack, session, number, offset, stored, raw, compression, start, length = self.blobs[blob_id]
        if session not in self.data_keys:
            data_key = self._sealed(f"sessions/{session.hex()}", b"DRCTLN01")
            self.data_keys[session] = AESGCM(data_key)
        sealed = self._object(f"packs/{pack[:2]}/{pack}")[offset : offset + stored]
        bound = b"drctl segment" + self.id + session + struct.pack("<BI", compression, raw)
        plain = self.data_keys[session].decrypt(number.to_bytes(12), sealed, bound)
        plain = unzstd(plain) if compression else plain
        assert len(plain) == raw
        found = plain[start : start + length]
        assert blake3(found, key=self.blob_key).digest() == blob_id
        return found

    def joined(self, ids: bytes) -> bytes:
        return b"".join(self.blob(ids[i : i + 32]) for i in range(0, len(ids), 32))

    def snapshots(self) -> list[dict[str, Any]]:
        names = [path.name for path in (self.top / "snapshots").glob("*")]
        found = [
            {"name": n, **self._meta(self._object(f"snapshots/{n}"), b"DRCTLS01")} for n in names
        ]
        return sorted(found, key=lambda manifest: manifest["started_at_ns"])

    def entries(self, manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
        root = msgspec.msgpack.decode(self.joined(manifest["root"]))
        for first, blob_id, count in root["blocks"]:
            block = msgspec.msgpack.decode(self.blob(blob_id))
            assert (block[0][0], len(block)) == (first, count)
            for entry in block:
                yield dict(zip(FIELDS, entry, strict=True))

    def content(self, entry: dict[str, Any]) -> bytes:
        """A file's bytes, its holes as zeros."""
        ids = self.joined(entry["blobs"]) if entry["indirect"] else entry["blobs"]
        data, extents = self.joined(ids), entry["extents"]
        if not extents:
            assert len(data) == entry["size"]
            return data
        whole, at = bytearray(entry["size"]), 0
        for offset, length in zip(extents[::2], extents[1::2], strict=True):
            whole[offset : offset + length] = data[at : at + length]
            at += length
        return bytes(whole)
