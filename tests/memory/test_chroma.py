import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from langchain_core.embeddings import DeterministicFakeEmbedding

from qwen_allinone.errors import InputError, StoreBusyError, StoreError
from qwen_allinone.memory.chroma import Row, Store, _blank_unused
from qwen_allinone.memory.embeddings import Embedder

EMBEDDER = Embedder(DeterministicFakeEmbedding(size=3), "three", 3)
OTHER_PROCESS = """
import sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from qwen_allinone.memory.embeddings import Embedder
from qwen_allinone.memory.chroma import Row, Store
embedder = Embedder(DeterministicFakeEmbedding(size=3), "three", 3)
with Store(sys.argv[1]).writing() as session:
    collection = session.get_or_create_collection("rows", embedder)
    collection.upsert([Row("theirs", "from the other process")], [[0, 1, 0]])
    collection.delete(["mine"])
"""


def write(store: Store, rows: list[Row], vectors: list[list[float]]) -> None:
    """Write rows to the one collection of these tests."""
    with store.writing() as session:
        session.get_or_create_collection("rows", EMBEDDER).upsert(rows, vectors)


def found(store: Store, vector: list[float], k: int = 10) -> list[str]:
    """Return the ids that a search finds, best first."""
    with store.reading() as session:
        collection = session.get_collection("rows", EMBEDDER)
        return [hit.row.id for hit in collection.search(vector, k)] if collection else []


def test_sees_another_process(tmp_path: Path):
    """A search sees rows that another process wrote or deleted since our last session."""
    store = Store(tmp_path)
    write(store, [Row("mine", "a")], [[1, 0, 0]])
    assert found(store, [1, 0, 0]) == ["mine"]
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(tmp_path)], check=True)
    assert found(store, [1, 0, 0]) == ["theirs"]


def test_waits_then_gives_up(tmp_path: Path):
    """A locked folder is waited for as long as was asked, and then named."""
    write(Store(tmp_path), [Row("a", "a")], [[1, 0, 0]])
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "store.lock"):
            entered.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(20)
    started = time.monotonic()
    with pytest.raises(StoreBusyError, match="in use by another process") as caught:
        found(Store(tmp_path, lock_timeout=0.3), [1, 0, 0])
    assert 0.3 <= time.monotonic() - started < 5
    assert str(tmp_path.resolve()) in str(caught.value)
    leave.set()
    holder.join()
    assert found(Store(tmp_path, lock_timeout=5), [1, 0, 0]) == ["a"]


def test_not_held_between_sessions(tmp_path: Path):
    """Between two sessions the lock is free."""
    write(Store(tmp_path), [Row("a", "a")], [[1, 0, 0]])
    with FileLock(tmp_path / "store.lock", timeout=0):
        pass


def test_threads(tmp_path: Path):
    """Threads of one process take turns and lose nothing."""
    store = Store(tmp_path, lock_timeout=60)
    work = [
        threading.Thread(target=write, args=(store, [Row(str(number), "text")], [[1, number, 0]]))
        for number in range(12)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sorted(found(store, [1, 0, 0], 100), key=int) == [str(number) for number in range(12)]


def test_reading_makes_nothing(tmp_path: Path):
    """Reading where nothing was written finds nothing and makes no folder."""
    assert found(Store(tmp_path / "home"), [1, 0, 0]) == []
    assert not (tmp_path / "home").exists()


def test_more_rows_than_chroma_takes_at_once(tmp_path: Path):
    """More than 5,461 rows are written, read and deleted in batches."""
    store = Store(tmp_path)
    rows = [Row(str(number), "text") for number in range(6000)]
    write(store, rows, [[1, number, 1] for number in range(6000)])
    with store.writing() as session:
        collection = session.get_collection("rows", EMBEDDER)
        assert collection is not None
        assert len(collection.rows()) == 6000
        collection.delete([row.id for row in rows[:5999]])
        assert [row.id for row in collection.rows()] == ["5999"]


def test_numbers_of_hits(tmp_path: Path):
    """No hits for k of 0, all rows for a k beyond their number, nothing for an empty write."""
    store = Store(tmp_path)
    write(store, [], [])
    assert found(store, [1, 0, 0]) == []
    write(store, [Row("a", "a"), Row("b", "b")], [[1, 0, 0], [0, 1, 0]])
    assert found(store, [1, 0, 0], 0) == []
    assert found(store, [1, 0.1, 0], 50) == ["a", "b"]


def test_same_id_twice_in_one_write(tmp_path: Path):
    """The last of two rows with the same id stays."""
    store = Store(tmp_path)
    write(store, [Row("a", "first"), Row("a", "second")], [[1, 0, 0], [1, 0, 0]])
    with store.reading() as session:
        collection = session.get_collection("rows", EMBEDDER)
        assert collection is not None and [row.text for row in collection.rows()] == ["second"]


def test_similarity_is_cosine(tmp_path: Path):
    """Similarity is the cosine, whatever the length of the vectors."""
    store = Store(tmp_path)
    write(store, [Row("a", "a"), Row("b", "b")], [[5, 0, 0], [-2, 0, 0]])
    with store.reading() as session:
        collection = session.get_collection("rows", EMBEDDER)
        assert collection is not None
        assert [hit.similarity for hit in collection.search([3, 4, 0], 2)] == pytest.approx([0.6, -0.6], abs=1e-5)


def test_nested_metadata(tmp_path: Path):
    """Nested metadata is refused by its key and nothing of the write remains."""
    store = Store(tmp_path)
    with pytest.raises(InputError, match="metadata 'tags' is list"):
        write(store, [Row("a", "a"), Row("b", "b", {"tags": ["x"]})], [[1, 0, 0], [0, 1, 0]])  # type: ignore[dict-item]
    assert found(store, [1, 0, 0]) == []


def test_another_embedder(tmp_path: Path):
    """A collection refuses an embedder that did not write it, naming both."""
    write(Store(tmp_path), [Row("a", "a")], [[1, 0, 0]])
    other = Embedder(DeterministicFakeEmbedding(size=3), "another", 3)
    for visit in (Store(tmp_path).reading, Store(tmp_path).writing):
        with visit() as session, pytest.raises(StoreError, match=r"'three' \(3 dim.*'another' \(3\)"):
            session.get_collection("rows", other)
    with Store(tmp_path).writing() as session, pytest.raises(StoreError, match="'another'"):
        session.get_or_create_collection("rows", other)


def test_home_is_a_file(tmp_path: Path):
    """A home that is a file is refused in one line, for reading and writing."""
    home = tmp_path / "home"
    home.write_text("", encoding="utf-8")
    for visit in (Store(home).reading, Store(home).writing):
        with pytest.raises(StoreError, match="cannot be used") as caught, visit():
            pass
        assert "\n" not in str(caught.value)


def test_home_below_a_file(tmp_path: Path):
    """A home that cannot be made is refused."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be used"), Store(tmp_path / "file" / "home").writing():
        pass


def test_read_only_home(tmp_path: Path):
    """A folder without write permission is refused and stays empty."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    try:
        (home / "probe").touch()
    except OSError:
        pass
    else:
        pytest.skip("this user or system may write to read-only folders")
    with pytest.raises(StoreError, match="cannot be used"), Store(home).writing():
        pass
    assert list(home.iterdir()) == []


def test_damaged_database(tmp_path: Path):
    """A file that is no database is refused in one line, again and again, and works once it is gone."""
    (tmp_path / "chroma.sqlite3").write_bytes(b"garbage" * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database") as caught, Store(tmp_path).reading():
            pass
        assert "\n" not in str(caught.value)
    (tmp_path / "chroma.sqlite3").unlink()
    write(Store(tmp_path), [Row("a", "a")], [[1, 0, 0]])
    assert found(Store(tmp_path), [1, 0, 0]) == ["a"]


def test_dot_env_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A .env file in the working folder does not reconfigure the database."""
    (tmp_path / ".env").write_text("IS_PERSISTENT=false\nALLOW_RESET=maybe\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write(Store("home"), [Row("a", "a")], [[1, 0, 0]])
    assert found(Store("home"), [1, 0, 0]) == ["a"]


def test_the_unused_part_of_an_index_is_blanked(tmp_path: Path):
    """Rows stay as they are; everything behind them in the files of the vector index is overwritten."""
    header = tmp_path / "header.bin"
    header.write_bytes(struct.pack("<iQQQQ", 1, 0, 4, 1, 8) + bytes(60))
    (tmp_path / "data_level0.bin").write_bytes(b"live row" + b"a secret of some memory.")
    (tmp_path / "length.bin").write_bytes(b"live" + b"secrets here")
    _blank_unused(header)
    assert (tmp_path / "data_level0.bin").read_bytes() == b"live row" + bytes(24)
    assert (tmp_path / "length.bin").read_bytes() == b"live" + bytes(12)
