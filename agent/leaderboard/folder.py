"""The folder of a site: what was written there before and is no longer part of it goes; anybody else's files stay."""

from __future__ import annotations

import json
from pathlib import Path

from kernelwright.agent.files import write_bytes
from kernelwright.agent.leaderboard import untrusted
from kernelwright.tasks.errors import InputError

MANIFEST = "leaderboard.json"
_FORMAT = 1


class SiteFolder:
    """Writes a site's files, each whole or not at all, and remembers their names in a manifest."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: the folder holds files and none of them says that it is a site.
        """
        self.path = path
        self.written: dict[str, int] = {}
        """File -> its bytes."""
        self._before = self._manifest()

    def put(self, name: str, data: bytes | str) -> None:
        """Write a file; ``name`` is relative, with ``/``.

        Raises:
            WorkspaceError: it cannot be written.
        """
        if not self.written:
            self._remember(self._before | {name})
        content = data if isinstance(data, bytes) else data.encode("utf-8")
        write_bytes(self.path / name, content)
        self.written[name] = len(content)

    def finish(self) -> None:
        """Remove what only an earlier site had, and write the manifest."""
        self._remember(self._before | set(self.written))
        for name in sorted(self._before - set(self.written)):
            found = self.path / name
            if found.is_file() and found.resolve().is_relative_to(self.path.resolve()):
                found.unlink()
                for folder in list(found.parents)[: len(Path(name).parents) - 1]:
                    if not any(folder.iterdir()):
                        folder.rmdir()
        self._remember(set(self.written))

    def _remember(self, names: set[str]) -> None:
        data = {"format": _FORMAT, "kind": "leaderboard", "files": sorted(names)}
        write_bytes(self.path / MANIFEST, (json.dumps(data, indent=1) + "\n").encode())

    def _manifest(self) -> set[str]:
        """The files of the site that is there; none in a new or empty folder."""
        if self.path.is_dir() and not any(self.path.iterdir()):
            return set()
        if not self.path.exists():
            return set()
        try:
            data = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} holds something that is no leaderboard", "give --out a new folder") from error
        if not isinstance(data, dict) or (data.get("kind"), data.get("format")) != ("leaderboard", _FORMAT):
            raise InputError(f"{self.path / MANIFEST} is of another format", "give --out a new folder")
        return {name for name in data.get("files", ()) if untrusted.below(name)}
