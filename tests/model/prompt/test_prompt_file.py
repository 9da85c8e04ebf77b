import sys

import pytest

from qwen_allinone.errors import PromptFileError
from qwen_allinone.model.prompt.prompt_file import PromptFile

GOOD = """
zh:
  greet: |
    你好，$name。
    ${mood}吗？
  price: 只要$$5
en:
  greet: Hello $name, ${mood}?
  price: Only $$5
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a prompt file into a package of its own and gives back how to load it."""
    name = f"prompts_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name / "prompts").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def load(content: str | bytes) -> PromptFile:
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / name / "prompts" / "test.yaml").write_bytes(raw)
        return PromptFile.load(name, "test")

    yield load
    sys.modules.pop(name, None)


def test_variables_are_filled_in(package):
    """Both forms of a variable are filled in, in both languages; two dollar signs are one."""
    prompts = package(GOOD)
    assert prompts.render("zh", "greet", name="小明", mood="开心") == "你好，小明。\n开心吗？"
    assert prompts.render("en", "greet", name="Ann", mood="happy") == "Hello Ann, happy?"
    assert prompts.render("en", "price") == "Only $5"


def test_values_are_never_looked_into(package):
    """A dollar sign in a value stays a dollar sign."""
    assert package(GOOD).render("en", "greet", name="$mood ${name} $$", mood="$5") == "Hello $mood ${name} $$, $5?"


def test_missing_and_unknown_variables_are_named(package):
    """A variable that is missing, and one that is not in the prompt, are both named with prompt and language."""
    with pytest.raises(
        PromptFileError, match=r"test\.greet \[en\]: missing variables \['mood'\], unknown variables \['moood'\]"
    ):
        package(GOOD).render("en", "greet", name="Ann", moood="happy")


def test_a_missing_entry_names_those_there_are(package):
    """Asking for an entry that is not there names the entries of that language."""
    with pytest.raises(PromptFileError, match=r"test\.yaml \[zh\] has no 'welcome'; it has: greet, price"):
        package(GOOD).entry("zh", "welcome")


@pytest.mark.parametrize(
    "content",
    [
        "zh: {a: b\nen: [",
        "zh:\n\tgreet: tab",
        b"\xff\xfe\x00",
        "",
        "- zh\n- en",
        "zh: {greet: a}",
        "zh: just text\nen: just text",
        "zh: {greet: a}\nen:",
    ],
    ids=["broken", "tab", "not utf-8", "empty", "a list", "one language", "no entries", "empty language"],
)
def test_broken_files_are_refused_in_one_line(package, content):
    """A file that is no prompt file is refused with one line that names it."""
    with pytest.raises(PromptFileError, match=r"test\.yaml") as caught:
        package(content)
    assert "\n" not in str(caught.value)


def test_a_stray_dollar_sign_in_a_file_is_refused_by_name(package):
    """A dollar sign that begins no variable is an error which names the prompt."""
    prompts = package("zh: {price: 只要 $ 5}\nen: {price: only $ 5}")
    with pytest.raises(PromptFileError, match=r"test\.price \[en\]"):
        prompts.render("en", "price")


def test_a_missing_file_is_named(package):
    """A file that does not exist is named with its package."""
    package(GOOD)
    with pytest.raises(PromptFileError, match=r"prompts/nothing\.yaml cannot be read"):
        PromptFile.load("qwen_allinone.model", "nothing")


@pytest.mark.parametrize("name", ["persona", "question"])
def test_the_two_languages_have_the_same_entries(name):
    """Every prompt of the package exists in Chinese and in English."""
    sections = PromptFile.load("qwen_allinone.model", name).sections
    assert sections["zh"].keys() == sections["en"].keys()
