"""Knowledge answers: from retrieved passages only, with their sources, or a plain no."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import Runnable
from pydantic import Field

from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import QwenTool, Result, TextInput
from qwen_allinone.tools.sentences import sentence_scores, split_sentences

_PROMPT = PromptFile.load("qwen_allinone.tools", "knowledge")


class KnowledgeAnswer(Result):
    """An answer and its sources."""

    text: str
    found: bool
    """False: no passage fits the question, and the text says so."""
    sources: tuple[str, ...]
    """Sources of the passages behind the answer, the best first."""
    passages: tuple[str, ...]
    """The passages behind the answer."""

    def __str__(self) -> str:
        return f"{self.text} [{', '.join(self.sources)}]" if self.sources else self.text


class KnowledgeTool(QwenTool):
    """Answers a question from what a retriever finds.

    A model that writes well is given the passages; otherwise the one sentence is picked that answers most surely.
    """

    name: str = "knowledge"
    description: str = "Answer a question from the knowledge base, with sources."
    args_schema: Any = TextInput
    retriever: Runnable[str, list[Document]] = Field(exclude=True)
    max_new_tokens: int = 200

    def _run(self, text: str) -> KnowledgeAnswer:
        documents = [document for document in self.retriever.invoke(text) if document.page_content.strip()]
        if not documents:
            nothing = _PROMPT.render(language_of(text), "nothing")
            return KnowledgeAnswer(text=nothing, found=False, sources=(), passages=())
        if self.qwen.capabilities.summary == "written":
            return _answer(self._written(text, documents), documents)
        return self._extracted(text, documents)

    def _written(self, text: str, documents: Sequence[Document]) -> str:
        passages = "\n\n".join(document.page_content for document in documents)
        context = _PROMPT.render(language_of(text), "write", passages=passages)
        return self.qwen.generate(text, context=context, max_new_tokens=self.max_new_tokens).text.strip()

    def _extracted(self, text: str, documents: Sequence[Document]) -> KnowledgeAnswer:
        found: list[tuple[str, Document]] = []
        for document in documents:
            found += [(sentence, document) for sentence in split_sentences(document.page_content)]
        scores = list(sentence_scores(self.qwen, text, [sentence for sentence, _ in found], _PROMPT))
        sentence, document = found[max(range(len(found)), key=scores.__getitem__)]
        return _answer(sentence, [document])


def _answer(text: str, documents: Sequence[Document]) -> KnowledgeAnswer:
    sources = dict.fromkeys(str(document.metadata.get("source", "?")) for document in documents)
    passages = tuple(document.page_content for document in documents)
    return KnowledgeAnswer(text=text, found=True, sources=tuple(sources), passages=passages)
