"""Secrets at rest: AES-256-GCM under a key that is not in the database."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .sqlite import StoreError

KEY_FILE: Final = "secret.key"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """A secret that this key did not seal, or not for this owner."""


class Vault:
    """Seals secrets for an owner; what is sealed for one cannot be opened for another."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: str, owner: str) -> bytes:
        """The secret, unreadable without the key."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """The secret again; raises `SealBroken`."""
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, text, owner.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"a secret of {owner} was sealed under another key; give the collector the AFORO_SECRET_KEY "
                f"or the {KEY_FILE} that it had, or rotate the secret"
            ) from None


def vault_of(folder: Path, given: str) -> Vault:
    """The vault under the key that is given (base64 of 32 bytes), else under that of the folder.

    The folder's key is made on first use, readable by its owner alone. Raises `StoreError`.
    """
    return Vault(_key(given, "AFORO_SECRET_KEY") if given else _key_of_folder(folder / KEY_FILE))


def _key_of_folder(path: Path) -> bytes:
    try:
        if not path.exists():
            _write(path, base64.b64encode(os.urandom(KEY_BYTES)))
        return _key(path.read_text("ascii"), str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}. Nothing was changed.") from error


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a key that is half on disk after a power cut would lock every secret away."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    draft.rename(path)


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"{where} is not the base64 of {KEY_BYTES} bytes. Nothing was started; `openssl rand -base64 32` makes one."
        )
    return key
