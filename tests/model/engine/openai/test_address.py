"""Which model on which server, and that there is one of each."""

import pytest
from scripted_server import models, reply, scripted_server

from qwen_allinone.errors import (
    InputError,
    ModelNotFoundError,
)
from qwen_allinone.model import SharedQwen


def test_the_model_is_named_where_there_are_several() -> None:
    """Behind the URL."""
    with scripted_server(models=models("a", "b"), chat=reply("ok")) as script:
        with pytest.raises(ModelNotFoundError, match="it offers a, b; append #NAME"):
            SharedQwen.connect(script.url)
        qwen = SharedQwen.connect(f"{script.url}#b")
        assert qwen.generate("好").text == "ok"
        assert script.asked[-1][1]["model"] == "b"
        assert qwen.name == f"{script.url}#b"


def test_the_context_window_is_what_the_server_tells() -> None:
    """In place of the usual one."""
    with scripted_server(models=models("m", max_model_len=512)) as script:
        assert SharedQwen.connect(script.url).context_window == 512


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://:80/v1",
        "http://host:port/v1",
        "http://me:secret@host/v1",
        "http://me:secret@host:port/v1",
        "http://me:secret/@host/v1",
        "http://me:secret#@host/v1",
        "http://host:port/v1?key=secret",
        "http://\u2603\u2603/v1",
        "http://host\n/v1",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    """A password in it is not repeated."""
    with pytest.raises(InputError) as caught:
        SharedQwen.load(url)
    assert "secret" not in str(caught.value)


def test_one_server_is_loaded_once() -> None:
    """As with weights."""
    with scripted_server(models=models("m")) as script:
        assert SharedQwen.load(script.url) is SharedQwen.load(script.url)
        assert len(script.asked) == 1
