"""The index: finds the nearest, lags safely, repairs itself, and two processes do not harm each other."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from kernelwright.memory.index import Index
from kernelwright.tasks.errors import WorkspaceError


class Notes:
    """Experiences in a dictionary: what an index is made from."""

    def __init__(self, identity: str = "one", **scopes: dict[str, str]) -> None:
        self.identity = identity
        self.scopes = scopes

    def counts(self) -> Mapping[str, int]:
        return {scope: len(texts) for scope, texts in self.scopes.items()}

    def ids(self, scope: str) -> set[str]:
        return set(self.scopes[scope])

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        return {i: text for texts in self.scopes.values() for i, text in texts.items() if i in ids}


CPP = {"soft": "softmax over rows", "mm": "matmul with tiles", "conv": "convolution of images"}


@pytest.fixture
def source() -> Notes:
    return Notes(cpp=dict(CPP), triton={"tsoft": "softmax over rows in a program"}, other={"far": "softmax over rows"})


@pytest.fixture
def index(tmp_path: Path, source: Notes) -> Iterator[Index]:
    opened = Index(tmp_path / "chroma")
    opened.sync(source)
    yield opened
    opened.close()


def found(index: Index, text: str, *scopes: str, n: int = 10) -> list[str]:
    return [near.id for near in index.query(text, scopes or ("cpp",), n)]


def test_nearest_first_within_the_scopes_asked_for(index):
    assert found(index, "row softmax")[0] == "soft"
    assert set(found(index, "row softmax")) == set(CPP)
    assert set(found(index, "row softmax", "cpp", "triton")) == {*CPP, "tsoft"}
    assert found(index, "row softmax", n=1) == ["soft"]
    assert found(index, "row softmax", "nowhere") == []


def test_similarity_is_the_cosine(index):
    near = index.query("softmax over rows", ("cpp",), 3)
    assert near[0].similarity == pytest.approx(1.0, abs=1e-4)
    assert [n.similarity for n in near] == sorted((n.similarity for n in near), reverse=True)


def test_added_items_are_found_at_once_and_after_opening_again(index, source, tmp_path):
    source.scopes["cpp"]["pool"] = "pooling over windows"
    index.add("cpp", {"pool": "pooling over windows"})
    assert found(index, "window pooling", n=1) == ["pool"]
    index.close()
    again = Index(tmp_path / "chroma")
    again.sync(source)
    assert found(again, "window pooling", n=1) == ["pool"]
    assert again.notes == []
    again.close()


def test_what_the_folder_lacks_or_has_too_much_is_levelled_when_opened(index, source, tmp_path):
    index.close()
    source.scopes["cpp"]["late"] = "cross entropy loss"
    del source.scopes["cpp"]["mm"]
    del source.scopes["cpp"]["conv"]
    again = Index(tmp_path / "chroma")
    again.sync(source)
    assert set(found(again, "loss")) == {"soft", "late"}
    again.close()


def test_a_new_folder_is_no_news_a_missing_one_is_said_once(tmp_path, source):
    for expected in ([], ["missing"]):
        index = Index(tmp_path / "chroma")
        index.sync(source)
        assert [word for note in index.notes for word in ("missing",) if word in note] == expected
        assert index.count() == 5
        index.close()
        shutil.rmtree(tmp_path / "chroma")


@pytest.mark.parametrize("how", ["garbage", "truncated", "scrambled", "a file"])
def test_a_broken_folder_is_rebuilt_from_the_source(index, source, tmp_path, how):
    index.close()
    folder = tmp_path / "chroma"
    if how == "garbage":
        (folder / "chroma.sqlite3").write_bytes(b"\x07" * 50_000)
    elif how == "truncated":
        with (folder / "chroma.sqlite3").open("r+b") as file:
            file.truncate(30_000)
    elif how == "scrambled":  # Chroma aborts the process on this one
        raw = (folder / "chroma.sqlite3").read_bytes()
        (folder / "chroma.sqlite3").write_bytes(raw.replace(b"CREATE TABLE", b"CREATE TABL\xff"))
    else:
        shutil.rmtree(folder)
        folder.write_text("not a folder")
    again = Index(folder)
    again.sync(source)
    assert found(again, "row softmax", n=1) == ["soft"]
    assert len(again.notes) == 1
    assert "rebuilt" in again.notes[0]
    again.close()


def test_a_folder_that_took_its_last_process_down_is_rebuilt(index, source, tmp_path):
    index.close()
    (tmp_path / "chroma.opening").touch()
    for notes in (1, 0):
        again = Index(tmp_path / "chroma")
        again.sync(source)
        assert len(again.notes) == notes
        assert again.count() == 5
        again.close()


def test_vector_files_that_are_gone_are_noticed(tmp_path):
    many = Notes(cpp={f"n{i}": f"note number {i}" for i in range(1500)})  # enough that Chroma writes vector files
    index = Index(tmp_path / "chroma")
    index.sync(many)
    index.close()
    folders = [p for p in (tmp_path / "chroma").iterdir() if p.is_dir()]
    assert folders, "the test is about these folders"
    for folder in folders:
        shutil.rmtree(folder)
    again = Index(tmp_path / "chroma")
    again.sync(many)
    assert "rebuilt" in again.notes[0]
    assert found(again, "note number 7", n=1) == ["n7"]
    again.close()


def test_vectors_of_another_store_are_dropped(index, tmp_path):
    index.close()
    other = Index(tmp_path / "chroma")
    other.sync(Notes("two", cpp={"mine": "softmax over rows"}))
    assert found(other, "softmax") == ["mine"]
    other.close()


def test_a_second_opener_reads_and_sees_its_own_additions_but_writes_nothing(index, source, tmp_path):
    reader = Index(tmp_path / "chroma")
    source.scopes["cpp"]["new"] = "pooling over windows"
    reader.sync(source)
    assert index.writes
    assert not reader.writes
    assert set(found(reader, "anything")) == {*CPP, "new"}
    reader.add("cpp", {"own": "cross entropy loss"})
    assert found(reader, "cross entropy", n=1) == ["own"]
    assert index.count() == 5
    with pytest.raises(WorkspaceError, match="another process"):
        reader.rebuild()
    reader.close()
    assert set(found(index, "anything")) == set(CPP)


def test_rebuild_counts_what_it_holds(index):
    assert index.rebuild() == 5
    assert found(index, "row softmax", n=1) == ["soft"]


def test_a_place_that_cannot_be_written_is_named(tmp_path, source):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="file"):
        Index(tmp_path / "file" / "chroma").sync(source)
