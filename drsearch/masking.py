"""Hides user names and passwords of addresses in all output, log lines, messages and files of drsearch."""

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
_WEB_USER = re.compile(r"(https?://)[^\s/?#'\"<>]*@")  # may be a token alone
_IN_QUERY = re.compile(r"([?&][\w.-]*(?:password|passwd|pwd|token|secret)=)[^&\s'\"]*", re.IGNORECASE)
_ALONE_CHARACTERS = 6  # a shorter password may be a word of any message

_secrets: list[str] = []  # in every form that may be printed, the longest first


def masked(text: str) -> str:
    """A text without the user names and passwords of the addresses in it.

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
    """Let `masked` hide the password of an address also where a library prints it without the address.

    Args:
        address: Of MLflow or of a study database; nothing happens if it has no user or password.
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
    """A web address without its user and password, for links and for requests that need no password.

    Example:
        >>> without_user("http://ann:pass@host:5000/mlflow")
        'http://host:5000/mlflow'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def mask_output() -> None:
    """Mask everything that this process writes to standard output and standard error, tracebacks included."""
    for variable in ADDRESS_VARIABLES:
        hide(os.environ.get(variable, ""))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and "write" not in vars(stream):
            _mask(stream)


def _mask(stream: TextIO) -> None:
    write = stream.write
    # Not a new stream: existing log handlers hold this one, and libraries use its file descriptor.
    stream.write = lambda text: write(masked(text))  # type: ignore[method-assign]
