"""Where to render: a URL, several, or `sim`, written so that one server has one name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchrunner.workflow.words import quote

SIM = "sim"
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def server_url(text: str) -> str:
    """Return `text` normalised: scheme and host in lower case, no default port, no slash at the end; or `sim`.

    Raises:
        ValueError: it is no URL of a server; the message never repeats what might be a password.

    """
    if text == SIM:
        return SIM
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if "@" in text:
        raise ValueError("must hold no user name, password or token; see --token-file and BATCHRUNNER_TOKEN")
    if parts.scheme not in _PORTS:
        raise ValueError(_no_scheme(text))
    host = parts.netloc.rsplit(":", 1)[0] if port is not None else parts.netloc.rstrip(":")
    if not _HOST.fullmatch(host) or not text.isprintable() or " " in text:
        raise ValueError("is no URL of a server")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must end before any ? or #")
    shown = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host.lower()}{shown}{parts.path.rstrip('/')}"


def _no_scheme(text: str) -> str:
    near = f" - did you mean http://{text}?" if re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?/?", text) else ""
    return f"must be sim, or begin with http:// or https://, not {quote(text)}{near}"
