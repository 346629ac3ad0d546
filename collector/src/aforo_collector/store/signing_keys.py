"""The keys that sign access tokens: one file each in the data folder, readable by its owner alone."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

FOLDER: Final = "signing-keys"
_BITS: Final = 2048
_EXPONENT: Final = 65537
_SUFFIX: Final = ".pem"


class SigningKey(NamedTuple):
    """A private key; `made_s` is when it was made, in seconds since 1970, and part of its id."""

    key_id: str
    made_s: int
    private: rsa.RSAPrivateKey


class SigningKeys:
    """The key files of one data folder. An operator who distrusts a key deletes its file and restarts."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def read(self) -> list[SigningKey]:
        """Every key, oldest first."""
        return sorted((_read(path) for path in self._folder.glob(f"*{_SUFFIX}")), key=lambda key: key.made_s)

    def make(self, now_s: int) -> SigningKey:
        """Make a key; on return it is on disk."""
        private = rsa.generate_private_key(_EXPONENT, _BITS)
        key = SigningKey(f"{now_s}-{token_hex(4)}", now_s, private)
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{key.key_id}{_SUFFIX}"
        unfinished = path.with_suffix(".new")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        return key

    def delete(self, key_id: str) -> None:
        """Forget a key."""
        (self._folder / f"{key_id}{_SUFFIX}").unlink(missing_ok=True)


def _read(path: Path) -> SigningKey:
    private = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey), f"{path} is no RSA key"
    return SigningKey(path.stem, int(path.stem.partition("-")[0]), private)
