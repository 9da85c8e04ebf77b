"""Long-term memory: what users said, word for word, found again by meaning."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_allinone.memory.chroma import Collection, Row, Session, Store, digest, require_k, require_text
from qwen_allinone.memory.embeddings import MIN_SIMILARITY, Embedder

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings


@dataclass(frozen=True)
class Memory:
    """One remembered text."""

    id: str
    text: str
    created: str
    """Time at which it was last told: ISO 8601, UTC, with its offset."""


@dataclass(frozen=True)
class Recalled(Memory):
    """A memory that a search found."""

    similarity: float
    """Cosine of memory and query, in [-1, 1]."""


class LongTermMemory:
    """Texts remembered for each user, in a collection of that user's own; no search ever sees another's.

    Every write is on disk when its method returns. Texts are kept as they are, control tokens included.

    Args:
        home: folder of the data; made at the first write.
        embedder: any LangChain embedding model, such as ``load_embedder()``.
        lock_timeout: seconds to wait while another process uses the folder.
    """

    def __init__(self, home: Path | str, embedder: "Embeddings", *, lock_timeout: float = 10.0) -> None:
        self._store = Store(home, lock_timeout=lock_timeout)
        self._embedder = Embedder.from_embeddings(embedder)

    def add(self, user: str, text: str) -> Memory:
        """Remember a text; the same text again is not kept twice, only its time is renewed.

        Raises:
            EmptyTextError: user or text is blank.
            StoreError: the folder cannot be used, or another embedder wrote it.
            StoreBusyError: another process kept the folder locked.
        """
        name = _collection_name(user)
        vectors = self._embedder.embed_documents([require_text(text, "the text to remember")])
        memory = Memory(digest(text)[:32], text, datetime.now(UTC).isoformat(timespec="microseconds"))
        with self._store.writing() as session:
            collection = session.get_or_create_collection(name, self._embedder)
            collection.upsert([Row(memory.id, text, {"created": memory.created})], vectors)
        return memory

    def search(self, user: str, query: str, k: int = 4, *, min_similarity: float = MIN_SIMILARITY) -> list[Recalled]:
        """Find the texts of this user that are nearest to the query, best first.

        Args:
            user: owner of the memories.
            query: text to search for.
            k: most memories to return.
            min_similarity: cosine that a memory must reach; its scale depends on the embedder.

        Raises:
            EmptyTextError: user or query is blank.
            StoreError: the folder cannot be used, or another embedder wrote it.
            StoreBusyError: another process kept the folder locked.
        """
        name = _collection_name(user)
        limit = require_k(k)
        vector = self._embedder.embed_query(require_text(query, "the query"))
        with self._store.reading() as session:
            collection = session.get_collection(name, self._embedder)
            hits = collection.search(vector, limit) if collection else []
        return [
            Recalled(hit.row.id, hit.row.text, str(hit.row.metadata["created"]), hit.similarity)
            for hit in hits
            if hit.similarity >= min_similarity
        ]

    def list(self, user: str) -> list[Memory]:
        """Return everything this user told, oldest first."""
        with self._store.reading() as session:
            collection = self._collection(session, user)
            rows = collection.rows() if collection else []
        memories = [Memory(row.id, row.text, str(row.metadata["created"])) for row in rows]
        return sorted(memories, key=lambda memory: memory.created)

    def delete(self, user: str, id: str) -> bool:
        """Remove one memory, its text also from the files on disk; False if there was none of this id."""
        with self._store.writing(scrub=True) as session:
            collection = self._collection(session, user)
            if collection is None or id not in {row.id for row in collection.rows()}:
                return False
            collection.delete([id])
            return True

    def forget(self, user: str) -> bool:
        """Remove everything this user told, also from the files on disk; False if there was nothing."""
        with self._store.writing(scrub=True) as session:
            return session.delete_collection(_collection_name(user))

    def _collection(self, session: Session, user: str) -> Collection | None:
        return session.get_collection(_collection_name(user), self._embedder)


def _collection_name(user: str) -> str:
    return f"memory-{digest(require_text(user, 'the user id'))[:40]}"
