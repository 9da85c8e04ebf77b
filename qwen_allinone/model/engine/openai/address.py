"""Address of a model on a server: the URL, and after ``#`` the model's name there."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from qwen_allinone.errors import InputError


def is_url(name: str) -> bool:
    """Return True if the name of a model is the URL of a server."""
    return name.startswith(("http://", "https://"))


@dataclass(frozen=True)
class Address:
    """Server and model, as in ``http://127.0.0.1:8000/v1#Qwen/Qwen2.5-0.5B-Instruct``.

    The model may be left out where there is only one.
    """

    url: str
    """Base of the API's paths; mostly ends with ``/v1``."""
    model: str | None = None

    @classmethod
    def from_name(cls, name: str) -> "Address":
        """Parse the name of a model on a server.

        Raises:
            InputError: it is no URL, or holds a password, which would end up in logs.
        """
        url, _, model = name.partition("#")
        if "@" in url.partition("//")[2].partition("/")[0] or "?" in url:
            raise InputError("the URL of a server holds a password or a query; give keys as QWEN_ALLINONE_API_KEY")
        try:
            parts = urlsplit(url)
            usable = is_url(url) and parts.hostname is not None and (parts.port is None or parts.port > 0)
        except ValueError:  # such as a port of letters
            usable = False
        if not usable:
            given = "what was given" if "@" in name else repr(url)  # perhaps a password with a "#" or "/" in it
            raise InputError(f"{given} is no URL of a server; give one such as http://127.0.0.1:8000/v1")
        return cls(url.rstrip("/"), model or None)

    def __str__(self) -> str:
        return f"{self.url}#{self.model}" if self.model else self.url
