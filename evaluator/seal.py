"""Seals: an HMAC-SHA256 over what a file says, with a key that both sides have and the way between them has not.

A seal shows that a file is as it was written by somebody with the key, for this run. It does not show that a verdict is true:
who has the key, or the machine that judges, can write what they like. Nor does it cover the evaluator's own code in a bundle.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import InputError

FIELD = "seal"
SHORTEST = 16
"""Bytes of a key."""


@dataclass(frozen=True)
class Key:
    """A secret that files are sealed with."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path, bundle: Path) -> Key:
        """The key in a file; white space around it does not count.

        Raises:
            InputError: it cannot be read, is too short, or lies in the bundle, with which it would travel.
        """
        make = "make one: python3 -c 'import secrets; print(secrets.token_hex(32))' > FILE"
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise InputError(f"the key {path.absolute()} cannot be read: {error.strerror}", make) from error
        if len(secret) < SHORTEST:
            raise InputError(f"the key {path} has {len(secret)} bytes, and at least {SHORTEST} are needed", make)
        if path.resolve().is_relative_to(bundle.resolve()):
            raise InputError(f"the key {path} lies in the bundle {bundle}", "keep it elsewhere, and carry it by another way")
        return cls(secret)

    def sealed(self, kind: str, run: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """``data`` with its seal. ``kind`` and ``run`` say what it is and where it belongs: it holds nowhere else."""
        return {**data, FIELD: self._seal(kind, run, data)}

    def fits(self, kind: str, run: str, data: Mapping[str, Any]) -> bool:
        """Whether ``data`` is as it was when it was sealed with this key."""
        return hmac.compare_digest(str(data.get(FIELD)).encode(), self._seal(kind, run, data).encode())

    def _seal(self, kind: str, run: str, data: Mapping[str, Any]) -> str:
        said = {name: value for name, value in data.items() if name != FIELD}
        text = json.dumps([kind, run, said], sort_keys=True, separators=(",", ":"))
        return hmac.new(self.secret, text.encode("utf-8"), hashlib.sha256).hexdigest()


def check_manifest(data: Mapping[str, Any], key: Key | None, bundle: Path) -> None:
    """What a bundle's manifest says must be as it was sealed.

    Raises:
        InputError: it was changed, sealed with another key or not at all; or it is sealed and there is no key.
    """
    if key is None and FIELD in data:
        raise InputError(f"the bundle {bundle} is sealed", "give --key FILE, the key that it was created with")
    if key is not None and FIELD not in data:
        raise InputError(f"the bundle {bundle} has no seal", "create it with --key FILE, or leave --key out")
    if key is not None and not key.fits("manifest", str(data.get("run")), data):
        raise InputError(
            f"the manifest of {bundle} does not fit its seal: it was changed on its way, or sealed with another key",
            "create the bundle again in a new folder, or give the key that it was created with; nothing was read of it",
        )
