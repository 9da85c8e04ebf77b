import pytest

from qwen_allinone.tools.sentences import split_sentences

CASES = {
    "chinese marks": (
        "房间不大，但干净。老板人很好！还来吗？来；",
        ["房间不大，但干净。", "老板人很好！", "还来吗？", "来；"],
    ),
    "english marks": ("It works. Really! Does it? Yes.", ["It works.", "Really!", "Does it?", "Yes."]),
    "lower case": ("it was cold. service was slow.", ["it was cold.", "service was slow."]),
    "no mark at the end": ("先说一句。再说一句", ["先说一句。", "再说一句"]),
    "mixed languages": ("装了 v2.0 版。Works fine! 没问题", ["装了 v2.0 版。", "Works fine!", "没问题"]),
    "decimals": ("The disk holds 3.5 GB. 占用 3.5GB。", ["The disk holds 3.5 GB.", "占用 3.5GB。"]),
    "abbreviations": (
        "Take a fruit, e.g. this one. Dr. Wu saw Mr. Li vs. me, i.e. twice.",
        ["Take a fruit, e.g. this one.", "Dr. Wu saw Mr. Li vs. me, i.e. twice."],
    ),
    "initials": (
        "J. R. Smith moved to the U.S. with us. Then back.",
        ["J. R. Smith moved to the U.S. with us.", "Then back."],
    ),
    "addresses": ("See http://a.io/b?c=1;d=2!x now. Done.", ["See http://a.io/b?c=1;d=2!x now.", "Done."]),
    "numbered lines": ("1. 开会\n2. 吃饭\n10. Go home", ["1. 开会", "2. 吃饭", "10. Go home"]),
    "chinese quotes": (
        "他说：“好。”然后走了。（真的！）好吧。",
        ["他说：“好。”", "然后走了。", "（真的！）", "好吧。"],
    ),
    "straight quotes": ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
    "brackets": ("(It rained.) We stayed.", ["(It rained.)", "We stayed."]),
    "opening quote after a mark": ('走吧。"再等等"他说', ["走吧。", '"再等等"他说']),
    "repeated marks": ("真的吗？！太好了！！！ Wait... what?!", ["真的吗？！", "太好了！！！", "Wait...", "what?!"]),
    "ellipsis": ("嗯……我觉得可以。", ["嗯……我觉得可以。"]),
    "newlines": ("标题\n\n正文一。\r\n正文二\n", ["标题", "正文一。", "正文二"]),
    "half-width marks in chinese": ("好的!我知道了?嗯", ["好的!", "我知道了?", "嗯"]),
    "nothing but marks": ("！！！", ["！！！"]),
    "marks at the head": ("…？？什么。 ...ok", ["…？？", "什么。", "...ok"]),
    "blank": (" \n ", []),
}


@pytest.mark.parametrize("case", CASES)
def test_sentences_end_where_a_reader_would_end_them(case):
    """Closing marks and quotes belong to their sentence; numbers, abbreviations and addresses stay whole."""
    text, sentences = CASES[case]
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("text", [*(text for text, _ in CASES.values()), "a.b!c?d;e。f", "?!。 .\n.", "“", "e.g. "])
def test_no_text_is_lost(text):
    """Put together again, the sentences are the text without the white space between them."""
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() and sentence in text for sentence in sentences)
