"""Content-addressed files."""

from __future__ import annotations

import pytest

from kernelwright.memory.artifacts import Artifacts
from kernelwright.tasks.errors import WorkspaceError


def test_content_comes_back_under_its_hash(tmp_path):
    artifacts = Artifacts(tmp_path)
    sha = artifacts.put(b"abc\x00\r\n")
    assert artifacts.get(sha) == b"abc\x00\r\n"
    assert artifacts.put("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert artifacts.path(sha).parent.name == sha[:2]


def test_same_content_is_one_file(tmp_path):
    artifacts = Artifacts(tmp_path)
    assert artifacts.put("x") == artifacts.put(b"x")
    assert len(list(tmp_path.glob("??/*"))) == 1


def test_text_survives_what_utf8_cannot_say(tmp_path):
    artifacts = Artifacts(tmp_path)
    assert artifacts.text(artifacts.put("half a pair \ud83d\r\n")) == "half a pair \ud83d\r\n"


def test_half_a_file_is_written_anew_and_a_changed_one_is_not_believed(tmp_path):
    artifacts = Artifacts(tmp_path)
    sha = artifacts.put("whole content")
    artifacts.path(sha).write_text("whole")
    artifacts.put("whole content")
    assert artifacts.text(sha) == "whole content"
    artifacts.path(sha).write_text("WHOLE content")
    with pytest.raises(WorkspaceError, match="damaged"):
        artifacts.get(sha)


def test_missing_content_and_unwritable_folders_are_named(tmp_path):
    with pytest.raises(WorkspaceError, match="no artifact"):
        Artifacts(tmp_path).get("00" * 32)
    assert Artifacts(tmp_path).find("00" * 32) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot write"):
        Artifacts(tmp_path / "file").put("x")
