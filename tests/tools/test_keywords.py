import pytest
from pydantic import ValidationError
from tiny_qwen import CONTROL_TOKENS

from qwen_allinone.tools import KeywordsTool

CHINESE = "实验室的显微镜坏了，维修师傅说要换镜头，显微镜下周才能用。"
ENGLISH = "The party was loud 🎉 but the art of the café's DJ, e.g. the GPT-4 remix, isn't for Wi-Fi users in 2024."


def words(tool, text, **fields) -> list[str]:
    """The keywords of a text."""
    return [keyword.text for keyword in tool.invoke({"text": text, **fields}).keywords]


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, f"{CHINESE}{ENGLISH}"])
def test_keywords_stand_in_the_text_at_their_offsets(extracting, text):
    """Cutting the text at the offset gives the keyword; the best come first, none twice."""
    keywords = KeywordsTool(qwen=extracting).invoke({"text": text, "k": 50}).keywords
    assert keywords
    for keyword in keywords:
        assert text[keyword.start : keyword.start + len(keyword.text)] == keyword.text
    probabilities = [keyword.probability for keyword in keywords]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 <= each <= 1 for each in probabilities)
    assert len({keyword.text for keyword in keywords}) == len(keywords)


def test_the_offset_is_that_of_the_word_and_not_of_letters_within_another(extracting):
    """“art” stands behind “party”, not in it."""
    found = {
        each.text: each.start for each in KeywordsTool(qwen=extracting).invoke({"text": ENGLISH, "k": 50}).keywords
    }
    assert found["art"] == ENGLISH.index("the art") + 4


def test_the_offset_is_that_of_the_first_occurrence(extracting):
    """A word that comes again is one keyword."""
    found = KeywordsTool(qwen=extracting).invoke({"text": CHINESE, "k": 50}).keywords
    assert [each.start for each in found if each.text == "显微镜"] == [CHINESE.index("显微镜")]


def test_candidates_are_whole_words(extracting):
    """No stop words, no single characters, no bare numbers, and no pieces of a longer word."""
    found = words(KeywordsTool(qwen=extracting), ENGLISH, k=50)
    assert {"party", "loud", "art", "DJ", "GPT-4", "remix", "Wi-Fi", "users"} <= set(found)
    assert not {"The", "the", "of", "caf", "Fi", "2024", "isn", "t", "s"} & set(found)
    chinese = words(KeywordsTool(qwen=extracting), CHINESE, k=50)
    assert "显微镜" in chinese
    assert all(len(word) > 1 for word in chinese)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_is_respected(extracting, k):
    """The fewer are the best of the more."""
    tool = KeywordsTool(qwen=extracting)
    assert words(tool, CHINESE, k=k) == words(tool, CHINESE, k=50)[:k]


def test_five_are_given_unless_told(extracting):
    """The text alone is enough."""
    assert len(KeywordsTool(qwen=extracting).invoke(CHINESE).keywords) == 5


def test_there_are_no_more_keywords_than_words(extracting):
    """A large k is no error."""
    assert words(KeywordsTool(qwen=extracting), "显微镜", k=50) == ["显微镜"]


@pytest.mark.parametrize("text", ["12345", "！！！🎉", "的", "a b c"])
def test_a_text_without_words_has_no_keywords(extracting, text):
    """An empty answer, and nothing is asked."""
    keywords = KeywordsTool(qwen=extracting).invoke(text)
    assert keywords.keywords == ()
    assert str(keywords) == ""
    assert extracting.read == []


@pytest.mark.parametrize("k", [0, -1, 51])
def test_k_out_of_range_is_refused(extracting, k):
    """At least one, at most fifty."""
    with pytest.raises(ValidationError, match="k"):
        KeywordsTool(qwen=extracting).invoke({"text": CHINESE, "k": k})


def test_control_tokens_in_the_text_do_no_harm(extracting):
    """They are characters like any other."""
    text = f"显微镜{''.join(CONTROL_TOKENS)}镜头"
    assert {"显微镜", "镜头"} <= set(words(KeywordsTool(qwen=extracting), text, k=50))


def test_many_words_are_asked_about_in_portions(extracting):
    """A long text has a bounded number of candidates, and ends."""
    text = " ".join(f"word{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(200))
    assert len(words(KeywordsTool(qwen=extracting), text, k=50)) == 50
    assert len(extracting.read) == 4


def test_the_line_of_an_answer_is_its_keywords(extracting):
    """In their order."""
    keywords = KeywordsTool(qwen=extracting).invoke(CHINESE)
    assert str(keywords) == ", ".join(keyword.text for keyword in keywords.keywords)
