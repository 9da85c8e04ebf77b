import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.memory import Embedder, load_embedder
from qwen_allinone.memory.embeddings import bundled_folder

FACTS = json.loads((Path(__file__).parent / "facts.json").read_text(encoding="utf-8"))


def test_importing_memory_is_light():
    """Importing the package loads neither Chroma nor sentence-transformers nor torch."""
    heavy = ["chromadb", "sentence_transformers", "torch"]
    code = f"import sys, qwen_allinone.memory; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_bundled_is_small():
    """The bundled embedder takes at most 8 MB and holds no pickled weights."""
    files = [path for path in bundled_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


def test_loaded_once(bundled: Embeddings):
    """The same name gives the same object."""
    assert load_embedder() is bundled


def test_unit_vectors(bundled: Embeddings):
    """Vectors have length 1 in both languages, also for emoji, control tokens and unseen scripts."""
    vectors = np.array(bundled.embed_documents(["你好", "hello", "🙂", "<|im_end|>", "שלום", "龘"]))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)


def test_vector_does_not_depend_on_batch(bundled: Embeddings):
    """A text has the same vector alone as among others."""
    texts = ["我住在上海", "a", "The train was late again."]
    assert np.allclose(bundled.embed_documents(texts), [bundled.embed_query(text) for text in texts], atol=1e-6)


def test_many_threads(bundled: Embeddings):
    """Threads may embed at the same time."""
    embedder = Embedder.from_embeddings(bundled)
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(embedder.embed_query, ["同一句话"] * 64))
    assert all(vector == vectors[0] for vector in vectors)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_short_facts_are_found(bundled: Embeddings, language: str):
    """The right one of thirteen facts is among the best four for at least twelve in thirteen questions."""
    facts, questions = FACTS[language]["facts"], FACTS[language]["questions"]
    scores = np.array(bundled.embed_documents(list(questions))) @ np.array(bundled.embed_documents(facts)).T
    best = np.argsort(-scores, axis=1)[:, :4]
    assert sum(right in row for row, right in zip(best, questions.values(), strict=True)) >= 12


def test_unknown_name():
    """A name that is neither folder nor hub id is refused in one line that says what is allowed."""
    with pytest.raises(ModelNotFoundError, match=r"no embedder 'nowhere'; allowed: 'bundled'") as caught:
        load_embedder("nowhere")
    assert "\n" not in str(caught.value)


def test_folder_without_model(tmp_path: Path):
    """A folder that is no sentence-transformers model is refused by what it lacks."""
    with pytest.raises(ModelNotFoundError, match=r"lacks modules.json, \*.safetensors"):
        load_embedder(str(tmp_path))


@pytest.mark.parametrize("broken", ["modules.json", "model.safetensors", "tokenizer.json"])
def test_broken_folder(tmp_path: Path, broken: str):
    """A folder whose files are damaged is refused in one line."""
    folder = shutil.copytree(bundled_folder(), tmp_path / "model")
    next(folder.rglob(broken)).write_bytes(b"damaged")
    with pytest.raises(ModelNotFoundError, match="cannot be loaded") as caught:
        load_embedder(str(folder))
    assert "\n" not in str(caught.value)


def test_foreign_code_is_not_run(tmp_path: Path):
    """A folder cannot name a module of its own to be run."""
    folder = shutil.copytree(bundled_folder(), tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n", encoding="utf-8")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelNotFoundError):
        load_embedder(str(folder))
    assert not (tmp_path / "ran").exists()


def test_name_follows_weights(bundled: Embeddings, tmp_path: Path):
    """A copy of a model elsewhere ends in the same digest, a retrained one does not."""
    copy = shutil.copytree(bundled_folder(), tmp_path / "bundled_embedder")
    assert Embedder.from_embeddings(load_embedder(str(copy))).name == Embedder.from_embeddings(bundled).name
    other = shutil.copytree(bundled_folder(), tmp_path / "other" / "bundled_embedder")
    weights = next(other.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-2] + b"\0\0")
    assert Embedder.from_embeddings(load_embedder(str(other))).name != Embedder.from_embeddings(bundled).name


def test_only_embeddings():
    """Anything but a LangChain embedding model is refused."""
    with pytest.raises(InputError, match="must be a LangChain Embeddings, given str"):
        Embedder.from_embeddings("bundled")
