import pytest

from qwen_allinone.model.prompt.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天的实验终于成功了！", "zh"),
        ("The experiment finally worked.", "en"),
        ("帮我查一下 iPhone 16 Pro Max 的价格", "zh"),
        ("My old friend 小明 is late for dinner again today", "en"),
        ("one two three four 五", "zh"),
        ("one two three four five 六", "en"),
        ("12345 !!! 🎉", "zh"),
        ("", "zh"),
    ],
)
def test_language_of(text, language):
    """A fifth of Han characters among the words makes a text Chinese, and so does a text without words."""
    assert language_of(text) == language
