"""Long texts in pieces that the model reads at once."""

from langchain_text_splitters import RecursiveCharacterTextSplitter

from qwen_allinone.model import SharedQwen

_SEPARATORS = ["\n\n", "\n", "。", "！", "？", "；", ". ", "! ", "? ", "; ", "，", ", ", " ", ""]


def split_for_reading(qwen: SharedQwen, text: str) -> list[str]:
    """Cut a text at sentence ends where that is possible, into pieces that the model reads at once.

    Half of the model's reading length (or context window) is left for questions and answers.
    """
    limit = (qwen.capabilities.max_input_tokens or qwen.context_window) // 2
    if len(qwen.chat.encode(text)) <= limit:
        return [text]
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=limit,
        chunk_overlap=0,
        length_function=lambda piece: len(qwen.chat.encode(piece)),
        separators=_SEPARATORS,
        keep_separator="end",
    )
    return [piece for piece in splitter.split_text(text) if piece.strip()]
