"""Reads text files of the user as UTF-8, or refuses them in one sentence."""

import codecs
import stat
from pathlib import Path

from drsearch.errors import DrsearchError


def read_text(file: Path, refused: type[DrsearchError], missing: str, called: str = "") -> str:
    r"""The text of a file, its lines ending in `\n` and without a byte order mark.

    Args:
        file: The file.
        refused: Class of the error to raise.
        missing: End of the message if the file does not exist, after its name.
        called: Name of the file in messages; empty for its path.

    Raises:
        refused: If the file does not exist, is not an ordinary file, may not be read, or is not UTF-8.
    """
    called = called or str(file)
    try:
        if not stat.S_ISREG(mode := file.stat().st_mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
            raise refused(f"{called}: is {kind}; name a text file.")
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as wrong:
        raise refused(f"{called}: {missing}") from wrong
    except OSError as wrong:
        raise refused(f"{called}: cannot be read ({wrong.strerror}).") from wrong
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise refused(f"{called}: is no UTF-8 text but UTF-16, as some editors save it, or no text; save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data[: wrong.start].count(b"\n") + 1
        raise refused(
            f"{called}: line {line} is not UTF-8 (byte 0x{data[wrong.start]:02x}); save the file as UTF-8."
        ) from wrong
    return text.replace("\r\n", "\n").replace("\r", "\n")
