"""docs/python.md: its Python runs as it stands, from the first block to the last."""

import os
import re
import sys
from pathlib import Path

import warm

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs_as_one_script(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 10
    (tmp_path / "page.py").write_text("\n".join(blocks))
    (tmp_path / "search_spaces").symlink_to(PAGE.parents[1] / "search_spaces")
    done = warm.run([sys.executable, "page.py"], os.environ, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^0\.\d{3} \[0\.\d{3}, \d\.\d{3}\]$", done.stdout, re.MULTILINE), "the model's AUC"
    assert re.search(r"^promoted|^forced", done.stdout, re.MULTILINE)
