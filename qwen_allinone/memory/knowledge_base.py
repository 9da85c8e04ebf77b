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
from qwen_allinone.memory.embedder import Embedder
from qwen_allinone.memory.passages import Section, SourceFile, source_files
from qwen_allinone.memory.store import Row, Scalar, Session, Shelf, Store, checked_k, checked_text, digest
from qwen_allinone.model.language import Language, language_of

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_PREFIX = "base-"
_MIN_SIMILARITY: dict[Language, float] = {"zh": 0.24, "en": 0.3}
"""Cosine below which a passage does not fit a question in that language. Chosen with the bundled embedder on 60
held-out paragraphs of XQuAD cut to 300 characters and 200 + 200 questions per language
(``python -m benchmarks.retrieval.similarity_bounds``): it keeps 88 % of the questions that one of them answers, and
finds nothing for 90 % (zh) and 80 % (en) of those about other paragraphs."""


@dataclass(frozen=True)
class Source:
    """One file of a knowledge base."""

    source: str
    """Its absolute path when it was added."""
    passages: int


@dataclass(frozen=True)
class Passage:
    """A piece of a file that a search found."""

    text: str
    source: str
    heading: str
    """The Markdown headings above it, joined by " > "; empty where there are none."""
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
        self.name = checked_text(name, "the name of the knowledge base")
        self._store = Store(home, lock_timeout=lock_timeout)
        self._embedder = Embedder.of(embedder)
        self._shelf_name = f"{_PREFIX}{digest(name)[:40]}"

    @classmethod
    def names(cls, home: Path | str, *, lock_timeout: float = 10.0) -> list[str]:
        """The names of all knowledge bases in a home folder, sorted."""
        with Store(home, lock_timeout=lock_timeout).reading() as session:
            return _names(session)

    def add(self, path: Path | str) -> list[Source]:
        """Add a .txt or .md file, or all of them in a folder; what the files held before is replaced.

        All files are read before the first is written; files that did not change are left alone.

        Returns:
            The files named, with the number of passages each has now.

        Raises:
            DataFileError: a file is missing, empty, not UTF-8 or of another kind; nothing is written.
            StoreError: the data folder cannot be used, or another embedder wrote the base.
            StoreBusyError: another process kept the folder locked.
        """
        return [self._add(file) for file in source_files(path)]

    def remove(self, path: Path | str) -> bool:
        """Take a file out of the base, whether or not it still exists; whether it was in there."""
        source = str(Path(path).expanduser().resolve())
        with self._store.writing(scrub=True) as session:
            shelf = self._known(session)
            ids = [row.id for row in shelf.rows(source=source)]
            shelf.delete(ids)
        return bool(ids)

    def drop(self) -> None:
        """Delete the whole base.

        Raises:
            StoreError: there is no base of this name.
        """
        with self._store.writing(scrub=True) as session:
            self._known(session)
            session.remove_shelf(self._shelf_name)

    def list(self) -> list[Source]:
        """The files of the base, sorted, with the number of passages of each.

        Raises:
            StoreError: there is no base of this name.
        """
        with self._store.reading() as session:
            rows = self._known(session).rows()
        return [Source(*item) for item in sorted(Counter(str(row.metadata["source"]) for row in rows).items())]

    def search(self, query: str, k: int = 4, *, min_similarity: float = -1.0) -> Passages:
        """The passages nearest to the query, best first.

        Args:
            query: what to look for.
            k: at most how many.
            min_similarity: cosine that a passage must reach; its scale depends on the embedder.

        Raises:
            EmptyTextError: the query is blank.
            StoreError: there is no base of this name.
        """
        count = checked_k(k)
        vector = self._embedder.query(checked_text(query, "the query"))
        with self._store.reading() as session:
            hits = self._known(session).search(vector, count)
        return [
            Passage(hit.row.text, str(hit.row.metadata["source"]), str(hit.row.metadata["heading"]), hit.similarity)
            for hit in hits
            if hit.similarity >= min_similarity
        ]

    def as_retriever(self, *, k: int = 4, min_similarity: float | None = None) -> "KnowledgeRetriever":
        """The base as a LangChain retriever, which finds nothing where no passage is similar enough.

        Args:
            k: at most how many passages.
            min_similarity: cosine that a passage must reach. None: a bound for the language of the question, chosen
                with the bundled embedder; give your own with another.
        """
        return KnowledgeRetriever(base=self, k=k, min_similarity=min_similarity)

    def _add(self, file: SourceFile) -> Source:
        with self._store.reading() as session:
            shelf = session.shelf(self._shelf_name, self._embedder)
            old = shelf.rows(source=file.source) if shelf else []
        if _is_complete(old, file):
            return Source(file.source, len(old))
        sections = file.sections()
        vectors = self._embedder.passages([f"{section.heading}\n{section.text}".strip() for section in sections])
        rows = [_row(file, sections, index) for index in range(len(sections))]
        with self._store.writing() as session:
            shelf = session.made_shelf(self._shelf_name, self._embedder, {"name": self.name})
            shelf.upsert(rows, vectors)
            stale = {row.id for row in shelf.rows(source=file.source)} - {row.id for row in rows}
            shelf.delete(sorted(stale))
        return Source(file.source, len(rows))

    def _known(self, session: Session) -> Shelf:
        shelf = session.shelf(self._shelf_name, self._embedder)
        if shelf is None:
            have = ", ".join(repr(name) for name in _names(session)) or "none yet"
            raise StoreError(f"no knowledge base {self.name!r}; there are: {have}; add a file to make it")
        return shelf


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
        bound = _MIN_SIMILARITY[language_of(query)] if self.min_similarity is None else self.min_similarity
        passages = self.base.search(query, self.k if k is None else k, min_similarity=bound)
        return [
            Document(
                page_content=passage.text,
                metadata={"source": passage.source, "heading": passage.heading, "similarity": passage.similarity},
            )
            for passage in passages
        ]


def _names(session: Session) -> list[str]:
    return sorted(str(metadata["name"]) for metadata in session.shelves(_PREFIX))


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
    """Whether the rows are all passages of exactly this text; an interrupted write leaves too few or too many."""
    same = [row for row in rows if row.metadata["digest"] == file.digest]
    return bool(same) and len(same) == len(rows) == same[0].metadata["passages"]
