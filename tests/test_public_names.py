"""The names at the top of the package, and of its parts."""

import subprocess
import sys
from importlib import import_module

import pytest

import qwen_allinone

NAMES = """
Assistant ChatSharedQwen ChatTool Choice Decision EvalRun IntentTool KeywordsTool KnowledgeBase KnowledgeTool
LabelledSet LongTermMemory Noul PromptRouter QwenAllInOneError Route RouteResult Score SentimentTool SharedQwen
SummaryTool Threshold Turn __version__ load_embedder
"""


def test_the_public_names_are_these():
    """A name that is added or taken away is a decision, made here."""
    assert dir(qwen_allinone) == qwen_allinone.__all__ == NAMES.split()
    assert all(getattr(qwen_allinone, name) for name in NAMES.split())
    with pytest.raises(AttributeError, match="no attribute 'Asistant'"):
        qwen_allinone.Asistant  # noqa: B018


@pytest.mark.parametrize("part", ["router", "tools", "model"])
def test_a_part_lists_its_names(part):
    """Whatever ``dir`` shows of a part can be imported from it."""
    module = import_module(f"qwen_allinone.{part}")
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) for name in module.__all__)


def test_importing_the_package_imports_nothing_heavy():
    """Torch, LangChain and Chroma wait until something of theirs is asked for."""
    program = (
        "import sys, qwen_allinone, qwen_allinone.router; dir(qwen_allinone)\n"
        "heavy = {'torch', 'transformers', 'langchain_core', 'chromadb', 'sentence_transformers', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
