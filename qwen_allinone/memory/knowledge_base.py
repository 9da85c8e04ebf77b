"""Knowledge bases: files cut into passages, found by meaning."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from qwen_allinone.errors import StoreError
from qwen_allinone.memory.chroma import Collection, Hit, Row, Scalar, Session, Store, digest, require_k, require_text
from qwen_allinone.memory.embeddings import Embedder
from qwen_allinone.memory.passages import Section, SourceFile, source_files
from qwen_allinone.model.prompt.language import Language, language_of

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_PREFIX = "base-"
MIN_SIMILARITY: dict[Language, float] = {"zh": 0.24, "en": 0.3}
"""Cosine below which a passage does not fit a question in that language; chosen with the bundled embedder on 60
held-out paragraphs of XQuAD cut to 300 characters and 200 + 200 questions per language
(``python -m benchmarks.retrieval.similarity_bounds``): it keeps 88 % of the questions that one of them answers, and
finds nothing for 90 % (zh) and 80 % (en) of those about other paragraphs."""


@dataclass(frozen=True)
class Source:
    """One file of a knowledge base."""

    source: str
    """Absolute path at the time it was added."""
    passages: int


@dataclass(frozen=True)
class Passage:
    """A piece of a file that a search found."""

    text: str
    source: str
    heading: str
    """Markdown headings above it, joined by " > "; empty where there are none."""
    similarity: float
    """Cosine of passage and query, in [-1, 1]."""


Passages = list[Passage]  # inside the class, "list" is its method


class KnowledgeBase:
    """A named set of text files to look things up in; a home folder holds any number of them.

    Args:
        home: folder of the data; made at the first write.
        name: any text that is not blank.
        embedder: any LangChain embedding model, such as ``load_embedder()``.
        lock_timeout: seconds to wait while another process uses the folder.
    """

    def __init__(self, home: Path | str, name: str, embedder: "Embeddings", *, lock_timeout: float = 10.0) -> None:
        self.name = require_text(name, "the name of the knowledge base")
        self._store = Store(home, lock_timeout=lock_timeout)
        self._embedder = Embedder.from_embeddings(embedder)
        self._collection_name = f"{_PREFIX}{digest(name)[:40]}"

    @classmethod
    def names(cls, home: Path | str, *, lock_timeout: float = 10.0) -> list[str]:
        """Return the names of all knowledge bases in a home folder, sorted."""
        with Store(home, lock_timeout=lock_timeout).reading() as session:
            return _names(session)

    def add(self, path: Path | str) -> list[Source]:
        """Add a .txt or .md file, or all of them in a folder; earlier contents of the files are replaced.

        All files are read before the first is written; files that did not change are left alone.

        Returns:
            The files added, with the number of passages each has now.

        Raises:
            DataFileError: a file is missing, empty, not UTF-8 or of another kind; nothing is written.
            StoreError: the data folder cannot be used, or another embedder wrote the base.
            StoreBusyError: another process kept the folder locked.
        """
        return [self._add(file) for file in source_files(path)]

    def remove(self, path: Path | str) -> bool:
        """Take a file out of the base, even one that is gone from the disk; False if the base does not have it."""
        source = str(Path(path).expanduser().resolve())
        with self._store.writing(scrub=True) as session:
            collection = self._require_collection(session)
            ids = [row.id for row in collection.rows(where={"source": source})]
            collection.delete(ids)
        return bool(ids)

    def drop(self) -> None:
        """Delete the whole base.

        Raises:
            StoreError: there is no base of this name.
        """
        with self._store.writing(scrub=True) as session:
            self._require_collection(session)
            session.delete_collection(self._collection_name)

    def list(self) -> list[Source]:
        """Return the files of the base, sorted, with the number of passages of each.

        Raises:
            StoreError: there is no base of this name.
        """
        with self._store.reading() as session:
            rows = self._require_collection(session).rows()
        passages = Counter(str(row.metadata["source"]) for row in rows)
        return [Source(source, passages[source]) for source in sorted(passages)]

    def search(self, query: str, k: int = 4, *, min_similarity: float = -1.0) -> Passages:
        """Find the passages nearest to the query, best first.

        Args:
            query: text to search for.
            k: most passages to return.
            min_similarity: cosine that a passage must reach; its scale depends on the embedder.

        Raises:
            EmptyTextError: the query is blank.
            StoreError: there is no base of this name.
        """
        limit = require_k(k)
        vector = self._embedder.embed_query(require_text(query, "the query"))
        with self._store.reading() as session:
            hits = self._require_collection(session).search(vector, limit)
        return [_passage(hit) for hit in hits if hit.similarity >= min_similarity]

    def as_retriever(self, *, k: int = 4, min_similarity: float | None = None) -> "KnowledgeRetriever":
        """Return a LangChain retriever over the base, which finds nothing where no passage is similar enough.

        Args:
            k: most passages to return.
            min_similarity: cosine that a passage must reach. None: a bound for the language of the question, chosen
                with the bundled embedder; give your own with another.
        """
        return KnowledgeRetriever(base=self, k=k, min_similarity=min_similarity)

    def _add(self, file: SourceFile) -> Source:
        with self._store.reading() as session:
            collection = session.get_collection(self._collection_name, self._embedder)
            old = collection.rows(where={"source": file.source}) if collection else []
        if _is_complete(old, file):
            return Source(file.source, len(old))
        sections = file.sections()
        rows = [_row(file, sections, index) for index in range(len(sections))]
        # Embedding takes long, so it happens while no lock is held.
        vectors = self._embedder.embed_documents([f"{part.heading}\n{part.text}".strip() for part in sections])
        with self._store.writing() as session:
            collection = session.get_or_create_collection(self._collection_name, self._embedder, {"name": self.name})
            collection.upsert(rows, vectors)
            present = {row.id for row in collection.rows(where={"source": file.source})}
            collection.delete(sorted(present - {row.id for row in rows}))
        return Source(file.source, len(rows))

    def _require_collection(self, session: Session) -> Collection:
        collection = session.get_collection(self._collection_name, self._embedder)
        if collection is None:
            names = ", ".join(repr(name) for name in _names(session)) or "none yet"
            raise StoreError(f"no knowledge base {self.name!r}; there are: {names}; add a file to make it")
        return collection


class KnowledgeRetriever(BaseRetriever):
    """Passages as LangChain documents; their metadata holds source, heading and similarity."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    base: KnowledgeBase = Field(exclude=True)
    k: int = Field(default=4, ge=0)
    min_similarity: float | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
        k: int | None = None,
    ) -> list[Document]:
        bound = MIN_SIMILARITY[language_of(query)] if self.min_similarity is None else self.min_similarity
        passages = self.base.search(query, self.k if k is None else k, min_similarity=bound)
        return [
            Document(
                page_content=passage.text,
                metadata={"source": passage.source, "heading": passage.heading, "similarity": passage.similarity},
            )
            for passage in passages
        ]


def _names(session: Session) -> list[str]:
    return sorted(str(collection.metadata["name"]) for collection in session.list_collections(_PREFIX))


def _passage(hit: Hit) -> Passage:
    metadata = hit.row.metadata
    return Passage(hit.row.text, str(metadata["source"]), str(metadata["heading"]), hit.similarity)


def _row(file: SourceFile, sections: list[Section], index: int) -> Row:
    metadata: dict[str, Scalar] = {
        "source": file.source,
        "heading": sections[index].heading,
        "index": index,
        "digest": file.digest,
        "passages": len(sections),
    }
    return Row(f"{digest(file.source)[:24]}-{file.digest[:24]}-{index}", sections[index].text, metadata)


def _is_complete(rows: list[Row], file: SourceFile) -> bool:
    """Return True if the rows are all passages of this very text; an interrupted write leaves too few or too many."""
    same = [row for row in rows if row.metadata["digest"] == file.digest]
    return bool(same) and len(same) == len(rows) == same[0].metadata["passages"]
