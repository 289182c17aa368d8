"""The commit, the code and the library versions that a result comes from."""

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import drsearch

_LIBRARIES = ("tensorflow-cpu", "tensorflow", "keras", "keras-tuner", "optuna", "mlflow", "numpy",
              "opencv-python-headless", "scikit-learn", "scipy")  # fmt: skip


@lru_cache
def git_commit() -> str:
    """The commit of drsearch's checkout, with `+changes` if files differ from it; empty outside a checkout."""
    root = Path(drsearch.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or a checkout of another user
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


@lru_cache
def source_digest() -> str:
    """The first 12 digits of the SHA-256 of drsearch's Python files, the same for every way of installing them.

    Without the search spaces, which lie in the package in a wheel alone: a study holds the text of its own.
    """
    root = Path(drsearch.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(set(root.rglob("*.py")) - set(root.glob("search_spaces/*"))):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@lru_cache
def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on, by distribution name."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # one of the two TensorFlow distributions is not installed
            continue
    return versions
