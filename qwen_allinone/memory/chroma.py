"""Chroma, embedded and shared by processes that take turns; no other module talks to it.

Chroma's ``PersistentClient`` is made for one process and keeps what it read. So every session takes a lock file in the
home folder, opens a client of its own and closes it again: it sees what another process wrote in between, and nothing
is held from one session to the next. Opening costs about 30 ms, with 5,000 rows of 256 dimensions about 60 ms.
"""

import hashlib
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qwen_allinone.errors import EmptyTextError, InputError, QwenAllInOneError, StoreBusyError, StoreError
from qwen_allinone.memory.embeddings import Embedder

if TYPE_CHECKING:
    import numpy as np
    from chromadb import Collection as ChromaCollection
    from chromadb.api.client import Client
    from numpy.typing import NDArray

Scalar = str | int | float | bool
_Item = TypeVar("_Item")

_DATABASE = "chroma.sqlite3"
_LOCK = "store.lock"
BATCH_SIZE = 5_000  # Chroma refuses more than 5,461 rows in one call

# A deleted row's text stays in Chroma's log of writes. A row that a later delete (operation 3) undid is blanked there.
_BLANK_DELETED = """
UPDATE embeddings_queue SET metadata = NULL WHERE metadata IS NOT NULL AND EXISTS (
    SELECT 1 FROM embeddings_queue AS later WHERE later.operation = 3 AND later.topic = embeddings_queue.topic
    AND later.id = embeddings_queue.id AND later.seq_id > embeddings_queue.seq_id)
"""

_INDEX_HEADER = struct.Struct("<iQQQQ")
"""First fields of hnswlib's ``header.bin``: version, offset, capacity in rows, rows, bytes of a row."""
_LENGTH_SIZE = 4
"""Bytes of a row in ``length.bin``."""


@dataclass(frozen=True)
class Row:
    """One stored text."""

    id: str
    text: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A row that a search found."""

    row: Row
    similarity: float
    """Cosine of the two vectors, in [-1, 1]."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def require_text(text: str, name: str) -> str:
    """Return the text unchanged.

    Args:
        text: what was given.
        name: its name in the message.

    Raises:
        EmptyTextError: it is blank.
        InputError: it is not a text, or holds half a surrogate pair, which UTF-8 cannot express.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} must be a text, given {type(text).__name__}")
    if not text.strip():
        raise EmptyTextError(f"{name} is empty; give at least one character that is not white space")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is not valid unicode at character {error.start}: {error.reason}") from error
    return text


def require_k(k: int) -> int:
    """Return the number unchanged.

    Raises:
        InputError: it is negative or not a whole number.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise InputError(f"k must be a whole number of at least 0, given {k!r}")
    return k


class Collection:
    """Rows that belong together, in cosine space: a Chroma collection."""

    def __init__(self, collection: "ChromaCollection") -> None:
        self._collection = collection

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata given when the collection was created, with its embedder."""
        return self._collection.metadata or {}

    def upsert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """Write rows; one of the same id is replaced. Nothing is written if any of them is refused.

        Raises:
            InputError: metadata holds anything but text, numbers and booleans.
        """
        unique = {row.id: (row, vector) for row, vector in zip(rows, vectors, strict=True)}
        for row, _ in unique.values():
            _require_plain_metadata(row)
        for batch in _batches(list(unique.values())):
            self._collection.upsert(
                ids=[row.id for row, _ in batch],
                embeddings=_array([vector for _, vector in batch]),
                documents=[row.text for row, _ in batch],
                metadatas=[dict(row.metadata) or None for row, _ in batch],  # type: ignore[misc]
            )

    def rows(self, where: Mapping[str, Scalar] | None = None) -> list[Row]:
        """Return all rows, or those whose metadata has a value, in no particular order.

        Args:
            where: one metadata key and the value it must have.
        """
        condition: Any = where
        found = self._collection.get(where=condition, include=["documents", "metadatas"])
        texts, metadata = found["documents"] or [], found["metadatas"] or []
        return [Row(*parts) for parts in zip(found["ids"], texts, map(_scalars, metadata), strict=True)]

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that do not exist are ignored."""
        for batch in _batches(list(ids)):
            self._collection.delete(ids=batch)

    def search(self, vector: Sequence[float], k: int) -> list[Hit]:
        """Return the ``k`` nearest rows, best first; fewer where there are fewer."""
        limit = min(k, self._collection.count())
        if limit == 0:
            return []
        found = self._collection.query(
            query_embeddings=_array([vector]), n_results=limit, include=["documents", "metadatas", "distances"]
        )
        texts, metadata, distances = found["documents"], found["metadatas"], found["distances"]
        assert texts and metadata and distances  # they were asked for
        hits = []
        for id, text, values, distance in zip(found["ids"][0], texts[0], metadata[0], distances[0], strict=True):
            similarity = max(-1.0, min(1.0, 1.0 - distance))  # rounding may leave the range of a cosine
            hits.append(Hit(Row(id, text, _scalars(values)), similarity))
        return hits


class Session:
    """One visit to the store, while it is locked."""

    def __init__(self, client: "Client | None") -> None:
        self._client = client

    def get_collection(self, name: str, embedder: Embedder) -> Collection | None:
        """Return the collection of that name, or None if it does not exist.

        Raises:
            StoreError: another embedder wrote it.
        """
        if self._client is None or not self._has(name):
            return None
        collection = Collection(self._client.get_collection(name, embedding_function=None))
        _require_embedder(collection, embedder)
        return collection

    def get_or_create_collection(
        self, name: str, embedder: Embedder, metadata: Mapping[str, Scalar] | None = None
    ) -> Collection:
        """Return the collection of that name; a new one keeps the name of its embedder and the metadata.

        Raises:
            StoreError: another embedder wrote it.
        """
        assert self._client is not None, "a session that writes has a client"
        created = self._client.get_or_create_collection(
            name,
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine"}},
            metadata={"embedder": embedder.name, "dimension": embedder.dimension, **(metadata or {})},
        )
        collection = Collection(created)
        _require_embedder(collection, embedder)
        return collection

    def delete_collection(self, name: str) -> bool:
        """Delete a collection with all its rows; False if there was none of that name."""
        if self._client is None or not self._has(name):
            return False
        self._client.delete_collection(name)
        return True

    def list_collections(self, prefix: str) -> list[Collection]:
        """Return every collection whose name begins with the prefix."""
        found = [] if self._client is None else self._client.list_collections()
        return [Collection(each) for each in found if each.name.startswith(prefix)]

    def _has(self, name: str) -> bool:
        assert self._client is not None
        return any(collection.name == name for collection in self._client.list_collections())


class Store:
    """A home folder with a Chroma database, used by one process at a time.

    Args:
        home: the folder; made at the first write.
        lock_timeout: seconds to wait for another process.
    """

    def __init__(self, home: Path | str, *, lock_timeout: float = 10.0) -> None:
        try:
            self.home = Path(home).expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as error:  # no such user, a circle of links, a null byte
            raise StoreError(f"data folder {home} cannot be used: {error}; name another folder") from error
        self._timeout = lock_timeout

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads; where nothing was ever written it is empty and leaves the folder alone.

        Raises:
            StoreError: the folder cannot be used.
            StoreBusyError: another process kept it locked.
        """
        try:
            written = (self.home / _DATABASE).is_file()
            blocked = not written and any(
                each.exists() and not each.is_dir() for each in (self.home, *self.home.parents)
            )
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if blocked:
            raise self._unusable("it is not a folder")
        if not written:
            yield Session(None)
            return
        with self.writing() as session:
            yield session

    @contextmanager
    def writing(self, *, scrub: bool = False) -> Iterator[Session]:
        """Open a session that may write; the folder is made if it is missing.

        Args:
            scrub: afterwards, drop the texts of deleted rows from the files too.

        Raises:
            StoreError: the folder cannot be used.
            StoreBusyError: another process kept it locked.
        """
        from chromadb.errors import ChromaError

        try:
            with self._locked():
                with self._client() as client:
                    yield Session(client)
                if scrub:
                    self._scrub()
        except QwenAllInOneError:
            raise
        except (ChromaError, OSError, sqlite3.Error) as error:
            raise self._unusable(str(error) or type(error).__name__) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self.home.mkdir(parents=True, exist_ok=True)
        try:
            # A lock object of its own for every session also keeps the threads of this process apart.
            lock = FileLock(self.home / _LOCK).acquire(timeout=self._timeout)
        except Timeout as error:
            raise StoreBusyError(
                f"data folder {self.home} was in use by another process for {self._timeout:g} s; "
                f"try again, or end the other program"
            ) from error
        with lock:
            yield

    @contextmanager
    def _client(self) -> Iterator["Client"]:
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings

        settings = Settings(_env_file=None, anonymized_telemetry=False)  # type: ignore[call-arg]
        try:
            client = chromadb.PersistentClient(path=str(self.home), settings=settings)
        except BaseException:
            # Chroma keeps what it failed to start, and would hand it out again.
            SharedSystemClient._identifier_to_system.pop(str(self.home), None)
            raise
        with closing(cast("Client", client)):
            yield cast("Client", client)

    def _scrub(self) -> None:
        with closing(sqlite3.connect(self.home / _DATABASE)) as connection:
            with connection:
                connection.execute(_BLANK_DELETED)
            connection.execute("VACUUM")
        for header in self.home.glob("*/header.bin"):
            _blank_unused(header)

    def _unusable(self, reason: str) -> StoreError:
        line = " ".join(reason.split())
        return StoreError(f"data folder {self.home} cannot be used: {line}; name a folder that can be written")


def _blank_unused(header: Path) -> None:
    """Overwrite the part of a vector index beyond its rows.

    The index is saved at its full capacity, together with whatever stood in that memory before.
    """
    _, _, capacity, rows, row_size = _INDEX_HEADER.unpack_from(header.read_bytes())
    for name, size in (("data_level0.bin", row_size), ("length.bin", _LENGTH_SIZE)):
        path = header.with_name(name)
        if path.is_file() and path.stat().st_size == capacity * size:
            with path.open("r+b") as file:
                file.seek(rows * size)
                file.write(bytes((capacity - rows) * size))


def _require_embedder(collection: Collection, embedder: Embedder) -> None:
    name, dimension = collection.metadata.get("embedder"), collection.metadata.get("dimension")
    if (name, dimension) != (embedder.name, embedder.dimension):
        raise StoreError(
            f"this data was written with the embedder {name!r} ({dimension} dimensions) and cannot be used with "
            f"{embedder.name!r} ({embedder.dimension}); use that embedder, or add the texts again in another folder"
        )


def _require_plain_metadata(row: Row) -> None:
    for key, value in row.metadata.items():
        if not isinstance(value, str | int | float | bool):
            raise InputError(
                f"metadata {key!r} is {type(value).__name__}; allowed are text, numbers and booleans, nothing nested"
            )


def _array(vectors: Sequence[Sequence[float]]) -> "NDArray[np.float32]":
    import numpy as np

    return np.asarray(vectors, dtype=np.float32)


def _scalars(metadata: Mapping[str, Any] | None) -> dict[str, Scalar]:
    return dict(metadata or {})


def _batches(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield list(items[start : start + BATCH_SIZE])
