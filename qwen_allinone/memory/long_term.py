"""Long-term memory: what users said, word for word, found again by meaning."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_allinone.memory.embedder import MIN_SIMILARITY, Embedder
from qwen_allinone.memory.store import Row, Session, Shelf, Store, checked_k, checked_text, digest

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings


@dataclass(frozen=True)
class Memory:
    """One remembered text."""

    id: str
    text: str
    created: str
    """When it was last told: ISO 8601, UTC, with its offset."""


@dataclass(frozen=True)
class Recalled(Memory):
    """A memory that a search found."""

    similarity: float
    """Cosine of memory and query, in [-1, 1]."""


class LongTermMemory:
    """Remembers texts for each user in a collection of that user's own; no search ever sees another's.

    Every write is on disk when its method returns. Texts are kept as they are, control tokens included.

    Args:
        home: folder of the data; made at the first write.
        embedder: any LangChain embedding model, such as ``load_embedder()``.
        lock_timeout: seconds to wait while another process uses the folder.
    """

    def __init__(self, home: Path | str, embedder: "Embeddings", *, lock_timeout: float = 10.0) -> None:
        self._store = Store(home, lock_timeout=lock_timeout)
        self._embedder = Embedder.of(embedder)

    def add(self, user: str, text: str) -> Memory:
        """Remember a text; the same text again is not kept twice, only its time is renewed.

        Raises:
            EmptyTextError: user or text is blank.
            StoreError: the folder cannot be used, or another embedder wrote it.
            StoreBusyError: another process kept the folder locked.
        """
        shelf_name = _shelf_name(user)
        vector = self._embedder.passages([checked_text(text, "the text to remember")])
        memory = Memory(digest(text)[:32], text, datetime.now(UTC).isoformat(timespec="microseconds"))
        with self._store.writing() as session:
            shelf = session.made_shelf(shelf_name, self._embedder)
            shelf.upsert([Row(memory.id, text, {"created": memory.created})], vector)
        return memory

    def search(self, user: str, query: str, k: int = 4, *, min_similarity: float = MIN_SIMILARITY) -> list[Recalled]:
        """What this user told that is nearest to the query, best first.

        Args:
            user: whose memories.
            query: what to look for.
            k: at most how many.
            min_similarity: cosine that a memory must reach; its scale depends on the embedder.

        Raises:
            EmptyTextError: user or query is blank.
            StoreError: the folder cannot be used, or another embedder wrote it.
            StoreBusyError: another process kept the folder locked.
        """
        shelf_name = _shelf_name(user)
        count = checked_k(k)
        vector = self._embedder.query(checked_text(query, "the query"))
        with self._store.reading() as session:
            shelf = session.shelf(shelf_name, self._embedder)
            hits = shelf.search(vector, count) if shelf else []
        return [
            Recalled(hit.row.id, hit.row.text, str(hit.row.metadata["created"]), hit.similarity)
            for hit in hits
            if hit.similarity >= min_similarity
        ]

    def list(self, user: str) -> list[Memory]:
        """Everything this user told, oldest first."""
        with self._store.reading() as session:
            shelf = self._shelf(session, user)
            rows = shelf.rows() if shelf else []
        memories = [Memory(row.id, row.text, str(row.metadata["created"])) for row in rows]
        return sorted(memories, key=lambda memory: memory.created)

    def delete(self, user: str, id: str) -> bool:
        """Remove one memory, its text also from the files on disk; whether it was there."""
        with self._store.writing(scrub=True) as session:
            shelf = self._shelf(session, user)
            if shelf is None or id not in {row.id for row in shelf.rows()}:
                return False
            shelf.delete([id])
            return True

    def forget(self, user: str) -> bool:
        """Remove everything this user told, also from the files on disk; whether there was anything."""
        with self._store.writing(scrub=True) as session:
            return session.remove_shelf(_shelf_name(user))

    def _shelf(self, session: Session, user: str) -> Shelf | None:
        return session.shelf(_shelf_name(user), self._embedder)


def _shelf_name(user: str) -> str:
    return f"memory-{digest(checked_text(user, 'the user id'))[:40]}"
