"""The index: finds the nearest, lags safely, repairs itself, and two processes do not harm each other."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from kernelwright.memory.chroma_folder import Folder
from kernelwright.memory.chroma_server import Server
from kernelwright.memory.index import Index
from kernelwright.tasks.errors import InputError, WorkspaceError


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
    opened = Index(Folder(tmp_path / "chroma"))
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
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert found(again, "window pooling", n=1) == ["pool"]
    assert again.notes == []
    again.close()


def test_what_the_folder_lacks_or_has_too_much_is_levelled_when_opened(index, source, tmp_path):
    index.close()
    source.scopes["cpp"]["late"] = "cross entropy loss"
    del source.scopes["cpp"]["mm"]
    del source.scopes["cpp"]["conv"]
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert set(found(again, "loss")) == {"soft", "late"}
    again.close()


def test_a_new_folder_is_no_news_a_missing_one_is_said_once(tmp_path, source):
    for expected in ([], ["missing"]):
        index = Index(Folder(tmp_path / "chroma"))
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
    again = Index(Folder(folder))
    again.sync(source)
    assert found(again, "row softmax", n=1) == ["soft"]
    assert len(again.notes) == 1
    assert "rebuilt" in again.notes[0]
    again.close()


def test_a_folder_that_took_its_last_process_down_is_rebuilt(index, source, tmp_path):
    index.close()
    (tmp_path / "chroma.opening").touch()
    for notes in (1, 0):
        again = Index(Folder(tmp_path / "chroma"))
        again.sync(source)
        assert len(again.notes) == notes
        assert again.count() == 5
        again.close()


def test_vector_files_that_are_gone_are_noticed(tmp_path):
    many = Notes(cpp={f"n{i}": f"note number {i}" for i in range(1500)})  # enough that Chroma writes vector files
    index = Index(Folder(tmp_path / "chroma"))
    index.sync(many)
    assert index.count() == 1500
    index.close()
    folders = [p for p in (tmp_path / "chroma").iterdir() if p.is_dir()]
    assert folders, "the test is about these folders"
    for folder in folders:
        shutil.rmtree(folder)
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(many)
    assert "rebuilt" in again.notes[0]
    assert found(again, "note number 7", n=1) == ["n7"]
    again.close()


def test_vectors_of_another_store_are_dropped(index, tmp_path):
    index.close()
    other = Index(Folder(tmp_path / "chroma"))
    other.sync(Notes("two", cpp={"mine": "softmax over rows"}))
    assert found(other, "softmax") == ["mine"]
    other.close()


def test_a_second_opener_reads_and_sees_its_own_additions_but_writes_nothing(index, source, tmp_path):
    assert index.count() == 5
    reader = Index(Folder(tmp_path / "chroma"))
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


def test_a_scope_is_put_there_when_it_is_first_asked_for(index, source, tmp_path):
    def there() -> int:
        return sum(collection.count() for collection in index._client.list_collections())

    assert there() == 0
    assert found(index, "row softmax", "triton") == ["tsoft"]
    assert there() == 1
    source.scopes["cpp"].pop("conv")  # not yet there, and never will be
    index.remove("cpp", ["conv"])
    assert index.count() == 4
    index.close()
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert set(found(again, "anything", "cpp")) == {"soft", "mm"}
    again.close()


def test_rebuild_counts_what_it_holds(index):
    assert index.rebuild() == 5
    assert found(index, "row softmax", n=1) == ["soft"]


def test_a_place_that_cannot_be_written_is_named(tmp_path, source):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="file"):
        Index(Folder(tmp_path / "file" / "chroma")).sync(source)


def foreign(folder: Path, name: str, dimensions: int) -> None:
    import chromadb

    client = chromadb.PersistentClient(f"{folder}/./.")  # a spelling of its own: Chroma keeps a client each
    with contextlib.suppress(Exception):
        client.delete_collection(name)
    made = client.create_collection(name, embedding_function=None)
    made.upsert(ids=["soft", "x"], embeddings=[[0.5] * dimensions, [0.1] * dimensions])
    client.close()


def test_vectors_of_another_dimension_are_made_anew(index, source, tmp_path):
    name = index._collection("cpp").name
    index.close()
    foreign(tmp_path / "chroma", name, 8)
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert found(again, "row softmax", n=1) == ["soft"]
    assert set(found(again, "row softmax")) == set(CPP)
    assert again.count() == 5
    assert "rebuilt" in "".join(again.notes)
    again.close()


def test_an_index_of_something_else_is_replaced_by_ours(source, tmp_path):
    foreign(tmp_path / "chroma", "recipes", 8)
    index = Index(Folder(tmp_path / "chroma"))
    index.sync(source)
    assert set(found(index, "row softmax")) == set(CPP)
    assert [c.name for c in index._client.list_collections() if c.name == "recipes"] == []
    index.close()


def test_equal_counts_hide_nothing_after_a_writer_was_killed(index, source, tmp_path):
    """One experience gone and one come: the counts agree, the ids do not."""
    index.close()
    del source.scopes["cpp"]["mm"]
    source.scopes["cpp"]["late"] = "cross entropy loss"
    (tmp_path / "chroma.dirty").touch()  # as a writer leaves it that is killed
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert set(found(again, "loss")) == {"soft", "conv", "late"}
    again.close()
    assert not (tmp_path / "chroma.dirty").exists(), "it ended well"


def test_what_is_removed_is_found_no_more_here_and_after_opening_again(index, source, tmp_path):
    del source.scopes["cpp"]["mm"]
    index.remove("cpp", ["mm"])
    index.add("cpp", {"late": "cross entropy loss"})
    index.remove("cpp", ["late"])
    assert set(found(index, "matmul")) == {"soft", "conv"}
    assert index.count() == 4
    index.close()
    again = Index(Folder(tmp_path / "chroma"))
    again.sync(source)
    assert set(found(again, "matmul")) == {"soft", "conv"}
    again.close()


def test_the_lock_goes_with_its_holder_and_is_handed_on(index, tmp_path):
    second = Index(Folder(tmp_path / "chroma"))
    with pytest.raises(WorkspaceError, match=r"another process \(\d+\) is writing the memory"):
        second.hold()
    index.close()
    second.hold()
    assert second.writes
    second.close()


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port", "http://u:secret@h", "http://h/x"]
)
def test_a_url_that_is_no_server_is_refused(url):
    with pytest.raises(InputError, match="no URL") as caught:
        Server(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_clear_error(source):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WorkspaceError, match=f"the Chroma server http://127.0.0.1:{port} failed") as caught:
        Index(Server(f"http://127.0.0.1:{port}")).sync(source)
    assert "start it" in caught.value.remedy


def test_a_writer_waits_for_somebody_who_only_looks(index, tmp_path, monkeypatch):
    monkeypatch.setattr("kernelwright.memory.chroma_folder.PATIENCE", 5.0)
    second = Index(Folder(tmp_path / "chroma"))
    threading.Timer(0.2, index.close).start()
    second.hold()
    assert second.writes
    second.close()
