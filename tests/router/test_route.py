from pathlib import Path

import pytest

from qwen_allinone.errors import PromptFileError
from qwen_allinone.router import Route, builtin_routes, route_question, routes_in

GOOD = """\
name: 天气
runnable: weather
description:
  zh: 问天气的
  en: about the weather
examples:
  zh: [明天下雨吗？]
  en: ["Will it rain tomorrow?"]
"""
ENGLISH_ONLY = "name: poem\nrunnable: poem\ndescription:\n  en: asks for a poem\n"

BROKEN = {
    "unknown field": (GOOD + "colour: red\n", "colour"),
    "unknown language": (GOOD.replace("  en: about", "  fr: about"), "fr"),
    "missing name": (GOOD.replace("name: 天气\n", ""), "name"),
    "missing runnable": (GOOD.replace("runnable: weather\n", ""), "runnable"),
    "missing description": ("name: a\nrunnable: a\n", "description"),
    "empty description": ("name: a\nrunnable: a\ndescription: {}\n", "description"),
    "blank description": ("name: a\nrunnable: a\ndescription: {zh: '  '}\n", "description"),
    "description without language": ("name: a\nrunnable: a\ndescription: what it is for\n", "description"),
    "blank name": (GOOD.replace("天气", "' '"), "name"),
    "empty name": (GOOD.replace("天气", "''"), "name"),
    "name of two lines": (GOOD.replace("天气", '"a\\nb"'), "name"),
    "name that is too long": (GOOD.replace("天气", "x" * 65), "name"),
    "name that is no text": (GOOD.replace("天气", "12"), "name"),
    "blank runnable": (GOOD.replace("weather\n", "'\t'\n", 1), "runnable"),
    "examples that are no list": (GOOD.replace("[明天下雨吗？]", "明天下雨吗？"), "examples"),
    "a list instead of fields": ("- name: a\n", "the file"),
    "nothing at all": ("", "the file"),
    "no YAML": ("name: [a\nrunnable: b", "cannot be read"),
    "an impossible date": (GOOD.replace("天气", "2024-13-45"), "cannot be read"),
    "a bottomless list": ("name: " + "[" * 400, "cannot be read"),
    "a control character": (GOOD.replace("天气", "a\x07"), "cannot be read"),
}


def write(folder: Path, name: str, content: str) -> Path:
    """A route file in a folder."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_route_file_is_read_field_by_field(tmp_path):
    """What the file says is what the route holds."""
    route = Route.from_file(write(tmp_path, "weather.yaml", GOOD))
    assert route.name == "天气"
    assert route.runnable == "weather"
    assert route.description == {"zh": "问天气的", "en": "about the weather"}
    assert route.examples == {"zh": ["明天下雨吗？"], "en": ["Will it rain tomorrow?"]}


def test_a_byte_order_mark_does_no_harm(tmp_path):
    """Editors that put one at the head of a UTF-8 file can be used."""
    assert Route.from_file(write(tmp_path, "weather.yaml", "\ufeff" + GOOD)).name == "天气"


@pytest.mark.parametrize(("language", "words"), [("zh", "要一首诗"), ("en", "asks for a poem")])
def test_a_description_in_one_language_serves_for_both(tmp_path, language, words):
    """Whoever writes one language only can still be asked in the other."""
    content = f"name: poem\nrunnable: poem\ndescription:\n  {language}: {words}\n"
    route = Route.from_file(write(tmp_path, "poem.yaml", content))
    assert route.described("zh") == route.described("en") == words
    assert route.examples == {}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_route_file_is_one_clear_line(tmp_path, case):
    """The error names the file and what is wrong with it, on one line."""
    content, culprit = BROKEN[case]
    path = write(tmp_path, "broken.yaml", content)
    with pytest.raises(PromptFileError) as caught:
        Route.from_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert culprit in message
    assert "\n" not in message


def test_a_route_file_that_is_not_utf8_says_so(tmp_path):
    """A file in another encoding is refused with the place of the first wrong byte."""
    path = tmp_path / "gbk.yaml"
    path.write_bytes(GOOD.encode("gb18030"))
    with pytest.raises(PromptFileError, match="not UTF-8 at byte 6"):
        Route.from_file(path)


def test_a_missing_route_file_is_an_error(tmp_path):
    """No file, no route."""
    with pytest.raises(PromptFileError, match="nowhere"):
        Route.from_file(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system ['touch made']", "!!python/name:os.system", "!!python/object:pathlib.Path {}"],
)
def test_python_objects_are_never_built(tmp_path, monkeypatch, tag):
    """A route file holds data; tags that would run code are refused and run nothing."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "evil.yaml", GOOD.replace("天气", tag))
    with pytest.raises(PromptFileError, match="cannot be read"):
        Route.from_file(path)
    assert not (tmp_path / "made").exists()


def test_the_routes_of_a_folder_come_in_the_order_of_their_file_names(tmp_path):
    """Numbered files give the order in which the options are listed; other files are passed over."""
    write(tmp_path, "2.yaml", GOOD)
    write(tmp_path, "1.yaml", ENGLISH_ONLY)
    write(tmp_path, "notes.txt", "not a route")
    assert [route.name for route in routes_in(tmp_path)] == ["poem", "天气"]


def test_both_usual_endings_are_read(tmp_path):
    """A route file may be called .yaml or .yml."""
    write(tmp_path, "1.yml", ENGLISH_ONLY)
    write(tmp_path, "2.yaml", GOOD)
    assert [route.name for route in routes_in(tmp_path)] == ["poem", "天气"]


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n"])
def test_an_empty_route_file_says_what_it_needs(tmp_path, content):
    """A file without fields is called empty, and the error names the fields."""
    path = write(tmp_path, "empty.yaml", content)
    with pytest.raises(PromptFileError, match="the file is empty; write name, runnable and description"):
        Route.from_file(path)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_a_folder_without_routes_is_an_error(tmp_path, folder):
    """An empty folder and none at all are said to be so."""
    with pytest.raises(PromptFileError, match=r"no route files \(\*\.yaml, \*\.yml\)"):
        routes_in(tmp_path / folder)


def test_a_name_in_two_files_is_an_error(tmp_path):
    """Two routes of one name in a folder are named, not silently merged."""
    write(tmp_path, "1.yaml", GOOD)
    write(tmp_path, "2.yaml", GOOD)
    with pytest.raises(PromptFileError, match=r"\['天气'\] more than once"):
        routes_in(tmp_path)


def test_one_broken_file_breaks_the_folder(tmp_path):
    """No route is left out silently."""
    write(tmp_path, "1.yaml", GOOD)
    write(tmp_path, "2.yaml", "name: x")
    with pytest.raises(PromptFileError, match=r"2\.yaml"):
        routes_in(tmp_path)


def test_four_routes_are_shipped_with_both_languages():
    """The defaults are described and exemplified in Chinese and in English."""
    routes = builtin_routes()
    assert [route.name for route in routes] == ["sentiment", "chat", "intent", "summary"]
    for route in routes:
        assert route.runnable == route.name
        assert route.description["zh"].strip()
        assert route.description["en"].strip()
        assert route.description["zh"] != route.description["en"]
        assert route.examples["zh"]
        assert route.examples["en"]


def test_a_route_made_in_code_needs_one_language_only():
    """Asked in the other language, it is listed with the description that it has; without any, by its name."""
    routes = (Route("诗", {"zh": "要一首诗"}, "poem"), Route("other", {}, "other"))
    assert route_question(routes, "en").criteria == {"诗": "要一首诗", "other": None}
    assert route_question(routes, "zh").criteria == {"诗": "要一首诗", "other": None}


def test_a_question_is_built_once_per_language_and_set_of_routes():
    """Asking again costs nothing; another language or another route is another question."""
    question = route_question(builtin_routes(), "zh")
    assert route_question(builtin_routes(), "zh") is question
    assert route_question(builtin_routes(), "en") is not question
    changed = (Route("chat", {"zh": "闲聊"}, "chat"), *builtin_routes()[1:])
    assert route_question(changed, "zh").criteria["chat"] != question.criteria["sentiment"]


def test_anchors_are_refused(tmp_path):
    """A short file that would unfold without end is refused at once."""
    lines = ["a0: &a0 {x: y}", *(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 10)}]}}" for n in range(9))]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(PromptFileError, match="anchors"):
        Route.from_file(path)


def test_a_folder_may_be_named_by_a_string(tmp_path):
    """What names the folder is a path or a text."""
    text = "name: a\nrunnable: chat\ndescription: {zh: 某事}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert [route.name for route in routes_in(str(tmp_path))] == ["a"]
