import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from qwen_allinone.errors import EmptyTextError, InputError, StoreError
from qwen_allinone.memory import LongTermMemory

FACTS = json.loads((Path(__file__).parent / "facts.json").read_text(encoding="utf-8"))
WRITER = """
import sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from qwen_allinone.memory import LongTermMemory
memory = LongTermMemory(sys.argv[1], DeterministicFakeEmbedding(size=8))
for number in range(1000):
    memory.add("u", f"fact {number}")
    print(number, flush=True)
"""


@pytest.fixture
def memory(tmp_path: Path, bundled: Embeddings) -> LongTermMemory:
    """Return a memory with nothing in it."""
    return LongTermMemory(tmp_path / "home", bundled)


def files_hold(home: Path, text: str) -> bool:
    """Return True if any file below holds these bytes."""
    return any(text.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("language", "question", "answer"),
    [("zh", "我住在哪里？", "我住在上海"), ("en", "What is my cat's name?", "I have a cat called Bean")],
)
def test_recalls_a_fact(memory: LongTermMemory, language: str, question: str, answer: str):
    """The fact that answers a question comes first among a dozen others."""
    for fact in FACTS[language]["facts"]:
        memory.add("u", fact)
    assert memory.search("u", question)[0].text == answer


@pytest.mark.parametrize("user", ["用户", "a", "ann@x", "x" * 10_000, "../..", "a\x00b"])
def test_any_user_id(memory: LongTermMemory, user: str):
    """Any text that is not blank names a user."""
    memory.add(user, "我住在上海")
    assert [kept.text for kept in memory.list(user)] == ["我住在上海"]


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_blank(memory: LongTermMemory, blank: str):
    """A blank user, text or query is an error, and writes nothing."""
    for call in (
        lambda: memory.add(blank, "x"),
        lambda: memory.add("u", blank),
        lambda: memory.search("u", blank),
        lambda: memory.search(blank, "x"),
        lambda: memory.list(blank),
        lambda: memory.delete(blank, "x"),
        lambda: memory.forget(blank),
    ):
        with pytest.raises(EmptyTextError, match="is empty"):
            call()
    assert memory.list("u") == []


def test_isolation(memory: LongTermMemory):
    """A user finds, lists, deletes and forgets nothing of another's, not even with the id."""
    kept = memory.add("ann", "我住在上海")
    memory.add("Ann", "something else")
    assert [hit.text for hit in memory.search("Ann", "我住在上海", min_similarity=-1)] == ["something else"]
    assert memory.search("bob", "我住在上海", min_similarity=-1) == memory.list("bob") == []
    assert not memory.delete("bob", kept.id)
    assert not memory.delete("Ann", kept.id)
    assert not memory.forget("bob")
    assert memory.list("ann") == [kept]


def test_same_text_twice(memory: LongTermMemory):
    """The same text is kept once, with the time it was last told."""
    first = memory.add("u", "我住在上海")
    second = memory.add("u", "我住在上海")
    assert first.id == second.id
    assert memory.list("u") == [second]
    assert second.created > first.created


def test_created_is_utc(memory: LongTermMemory):
    """The time is an aware ISO time in UTC, of now."""
    created = datetime.fromisoformat(memory.add("u", "x").created)
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)


def test_oldest_first(memory: LongTermMemory):
    """Memories are listed in the order they were told."""
    texts = ["b", "a", "c"]
    for text in texts:
        memory.add("u", text)
    assert [kept.text for kept in memory.list("u")] == texts


def test_delete_and_forget_reach_the_disk(memory: LongTermMemory, tmp_path: Path):
    """A deleted memory is gone from the answers and its text from every file; the others stay and can be added to."""
    one = memory.add("u", "SECRET-ONE")
    memory.add("u", "SECRET-TWO")
    assert files_hold(tmp_path / "home", "SECRET-ONE")
    assert memory.delete("u", one.id)
    assert not memory.delete("u", one.id)
    assert not files_hold(tmp_path / "home", "SECRET-ONE")
    memory.add("u", "SECRET-THREE")
    found = memory.search("u", "SECRET", k=9, min_similarity=-1)
    assert {hit.text for hit in found} == {"SECRET-TWO", "SECRET-THREE"}
    assert memory.forget("u")
    assert memory.list("u") == []
    assert not files_hold(tmp_path / "home", "SECRET")


def test_deleted_text_can_come_back(memory: LongTermMemory):
    """A text that was deleted can be told again."""
    memory.delete("u", memory.add("u", "我住在上海").id)
    memory.add("u", "我住在上海")
    assert [hit.text for hit in memory.search("u", "我住在哪里？")] == ["我住在上海"]


def test_k(memory: LongTermMemory):
    """At most k are recalled, best first; k below 0 is an error."""
    for fact in FACTS["en"]["facts"]:
        memory.add("u", fact)
    hits = memory.search("u", "I live in Leeds", k=3, min_similarity=-1)
    assert len(hits) == 3
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)
    assert memory.search("u", "x", k=0) == []
    assert len(memory.search("u", "x", k=500, min_similarity=-1)) == 13
    with pytest.raises(InputError, match="k must be"):
        memory.search("u", "x", k=-1)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_unrelated_queries_recall_little(memory: LongTermMemory, language: str):
    """With the default threshold, unrelated requests recall nothing in at least three of four cases."""
    for fact in FACTS[language]["facts"]:
        memory.add("u", fact)
    unrelated = FACTS[language]["unrelated"]
    assert sum(not memory.search("u", query) for query in unrelated) >= 0.75 * len(unrelated)


def test_control_tokens_are_text(memory: LongTermMemory):
    """Control tokens are kept and found as they were written."""
    text = "<|im_end|>\n<|im_start|>system\n<think>你好"
    memory.add("u", text)
    assert [hit.text for hit in memory.search("u", text)] == [text]


def test_half_a_surrogate(memory: LongTermMemory):
    """A text that UTF-8 cannot express is refused in one line."""
    with pytest.raises(InputError, match="not valid unicode at character 1"):
        memory.add("u", "a\ud800")


def test_second_embedder(tmp_path: Path, bundled: Embeddings, minilm: Embeddings):
    """A real sentence-transformers model works the same, and data of another embedder is refused by both names."""
    memory = LongTermMemory(tmp_path, minilm)
    for fact in FACTS["en"]["facts"]:
        memory.add("u", fact)
    assert memory.search("u", "Which pet do I own?")[0].text == "I have a cat called Bean"
    with pytest.raises(StoreError, match=r"'model-.*' \(384 dimensions\).*'bundled_embedder-.*' \(448\)"):
        LongTermMemory(tmp_path, bundled).search("u", "x")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_acknowledged_writes_survive_sigkill(tmp_path: Path):
    """Everything that was acknowledged before a kill -9 is there afterwards, and the folder is free."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(5)]
        writer.kill()
        acknowledged += writer.stdout.read().split()
    memory = LongTermMemory(tmp_path, DeterministicFakeEmbedding(size=8))
    texts = {kept.text for kept in memory.list("u")}
    assert {f"fact {number}" for number in acknowledged} <= texts
    assert memory.search("u", "fact 0", k=1)[0].text == "fact 0"
