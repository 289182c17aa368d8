"""Which parts of an address are secret? User information; no output, log line, message or file of drsearch shows it."""

import json
import os
import re
import sys
from typing import TextIO
from urllib.parse import unquote, urlsplit, urlunsplit

ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "DRSEARCH_STORAGE")
"""Environment variables that hold addresses."""

_MASK = "***"
_WITH_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"<>@]*:[^\s/?#'\"<>]*@")
_WEB_USER = re.compile(r"(https?://)[^\s/?#'\"<>]*@")  # a token may stand there alone
_IN_QUERY = re.compile(r"([?&][\w.-]*(?:password|passwd|pwd|token|secret)=)[^&\s'\"]*", re.IGNORECASE)
_ALONE_CHARACTERS = 6  # a shorter password may be a word of any message

_secrets: list[str] = []  # as they may be printed, the longest first


def masked(text: str) -> str:
    """A text without the user information of the addresses in it.

    Example:
        >>> masked("no answer from http://ann:pass@host:5000/api")
        'no answer from http://***@host:5000/api'
        >>> masked("postgresql://ann@host/optuna has a user and no password")
        'postgresql://ann@host/optuna has a user and no password'
    """
    for secret in _secrets:
        text = text.replace(secret, f"{_MASK}@" if secret.endswith("@") else _MASK)
    if "://" not in text:
        return text
    for pattern, shown in ((_WITH_PASSWORD, rf"\1{_MASK}@"), (_WEB_USER, rf"\1{_MASK}@"), (_IN_QUERY, rf"\1{_MASK}")):
        text = pattern.sub(shown, text)
    return text


def hide(address: str) -> None:
    """Let `masked` know the user information of an address, which a library may print without the address around it.

    Args:
        address: Of MLflow or of a study database; one without user information changes nothing.
    """
    user, at, host = address.partition("://")[2].rpartition("@")
    name, colon, password = user.partition(":")
    if not at or not (colon or address.startswith("http")):
        return
    alone = password or (name if not colon else "")
    forms = [f"{user}@", f"{alone}@" if alone else ""]
    if len(alone) >= _ALONE_CHARACTERS and alone not in f"{host} {name if colon else ''}":
        forms.append(alone)
    for form in filter(None, forms):
        _secrets.extend({form, unquote(form), json.dumps(unquote(form))[1:-1]} - set(_secrets))
    _secrets.sort(key=len, reverse=True)


def without_user(address: str) -> str:
    """A web address without its user information, for links and for questions that need no password.

    Example:
        >>> without_user("http://ann:pass@host:5000/mlflow")
        'http://host:5000/mlflow'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def mask_output() -> None:
    """Mask whatever this process writes to standard output and standard error, tracebacks included."""
    for variable in ADDRESS_VARIABLES:
        hide(os.environ.get(variable, ""))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and "write" not in vars(stream):
            _mask(stream)


def _mask(stream: TextIO) -> None:
    write = stream.write
    # The stream itself is kept: handlers that were made before hold it, and libraries ask it for its descriptor.
    stream.write = lambda text: write(masked(text))  # type: ignore[method-assign]
