"""What is said of a space file before any of it runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from drsearch.errors import SearchSpaceError
from drsearch.space.source import literal_settings, read_source

SHIPPED = ", ".join(sorted(path.stem for path in (Path(__file__).parents[2] / "search_spaces").glob("*.py")))
SPACE = "def space(hp):\n    hp.Choice('training.learning_rate', [0.001])\n"
DEFINES = (
    "a space file defines SETTINGS, space(hp), build_model(hp, image_px, n_classes), build_loss(settings), "
    "augment(image, rng), objective(labels, probabilities), and what these use. "
)


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "mine.py"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


REFUSED = [
    (SPACE + "def my_augmentations(images):\n    return images\n",
     f"line 3 defines my_augmentations, which nothing uses: {DEFINES}Augmentation is set by augmentation.*, or is "
     "augment(image, rng)."),
    (SPACE + "def augment(images):\n    return images\n",
     "line 3 defines augment(images); write def augment(image, rng)."),
    (SPACE + "def build_loss(y_true, y_pred): ...\n",
     "line 3 defines build_loss(y_true, y_pred); write def build_loss(settings)."),
    (SPACE + "def my_loss(y_true, y_pred): ...\n",
     f"line 3 defines my_loss, which nothing uses: {DEFINES}The loss is the setting training.loss, or "
     "build_loss(settings)."),
    (SPACE + "callbacks = []\n",
     f"line 3 defines callbacks, which nothing uses: {DEFINES}There are no callbacks: study.pruner ends trials early, "
     "training.schedule moves the learning rate."),
    (SPACE + "if True:\n    EPOCHS = 40\n",
     f"line 4 defines EPOCHS, which nothing uses: {DEFINES}The setting training.epochs goes into SETTINGS, or is drawn "
     "in space(hp)."),
    (SPACE + "class Net:\n    pass\n",
     f"line 3 defines Net, which nothing uses: {DEFINES}Leave it out, or begin its name with _."),
    (SPACE + "def one():\n    two()\ndef two():\n    one()\n",
     f"line 3 defines one, which nothing uses: {DEFINES}Leave it out, or begin its name with _."),
    ("Setting = {}\n" + SPACE, "line 1 defines Setting, which nothing uses; did you mean SETTINGS?"),
    (SPACE.replace("space", "Space"), "line 1 defines Space, which nothing uses; did you mean space?"),
    (SPACE + "def build_mode(hp, image_px, n_classes): ...\n",
     "line 3 defines build_mode, which nothing uses; did you mean build_model?"),
    (SPACE + "def build_model(hp): ...\n",
     "line 3 defines build_model(hp); write def build_model(hp, image_px, n_classes)."),
    (SPACE + "def build_model(image_px, hp, n_classes): ...\n",
     "line 3 defines build_model(image_px, hp, n_classes); write def build_model(hp, image_px, n_classes)."),
    (SPACE + "def build_model(hp, image_px, n_classes, *, width): ...\n",
     "line 3 defines build_model(hp, image_px, n_classes, *, width); write def build_model(hp, image_px, n_classes)."),
    ("def space():\n    pass\n", "line 1 defines space(); write def space(hp)."),
    ("import keras\n", "defines no space(hp); begin with `def space(hp):` and draw settings in it."),
    ("\nimport nosuchpackage.layers\n" + SPACE,
     "line 2 imports nosuchpackage, which is not installed here; install it on every machine that runs trials, or do "
     "without it."),
    (SPACE + "    from nosuchpackage import layers\n",
     "line 3 imports nosuchpackage, which is not installed here; install it on every machine that runs trials, or do "
     "without it."),
    ("import beside_it\n" + SPACE,
     "line 1 imports beside_it, which lies beside it and is not installed; a study keeps the space file alone, so "
     "write into it what it uses, or install the package on every machine."),
    ("from . import beside_it\n" + SPACE,
     "line 1 imports from its own folder; a study keeps the space file alone, so write into it what it uses."),
    ("SETTINGS = {'training.epoch': 3}\n" + SPACE,
     "SETTINGS: 'training.epoch' is no setting; did you mean 'training.epochs'?"),
    ("SETTINGS = [1]\n" + SPACE,
     "SETTINGS is a list; write a dict, for example SETTINGS = {'training.epochs': 40}."),
    ("SETTINGS = {1: 2}\n" + SPACE, "SETTINGS: 1 is no name; write for example 'training.epochs'."),
    ("def space(hp:\n", "line 1 is not Python: '(' was never closed."),
    ("return 1\n" + SPACE, "line 1 is not Python: 'return' outside function."),
    (SPACE.encode("utf-16"), "is no UTF-8 text but UTF-16, as some editors save it, or no text; save it as UTF-8."),
    (SPACE.encode("utf-16-le"), "is no UTF-8 text but UTF-16, as some editors save it, or no text; save it as UTF-8."),
    (SPACE.encode() + b"# \xe9t\xe9\n", "line 3 is not UTF-8 (byte 0xe9); save the file as UTF-8."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_what_cannot_be_a_space_is_refused_by_its_text(tmp_path: Path, text: str | bytes, said: str) -> None:
    (tmp_path / "beside_it.py").write_text("")
    file = write(tmp_path, text)
    with pytest.raises(SearchSpaceError) as refused:
        read_source(file)
    assert str(refused.value) == f"{file}: {said}"


TAKEN = [
    "WIDTHS = [1]\ndef helper():\n    return WIDTHS\n" + SPACE + "    helper()\n",
    "class Net:\n    pass\ndef build_model(hp, px, n, made=Net): ...\n" + SPACE,
    "def build_model(*what): ...\n" + SPACE,
    "class Mine:\n    def build(self, hp): ...\nbuild_model = lambda hp, px, n: Mine().build(hp)\n" + SPACE,
    SPACE + "_note = 'private'\n__author__ = 'me'\n",
    SPACE + "def main(): ...\nif __name__ == '__main__':\n    main()\n",
    "try:\n    import nosuchpackage\nexcept ImportError:\n    nosuchpackage = None\n" + SPACE,
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nosuchpackage\n" + SPACE,
    "from json import *\n",
    "low, high = 1, 2\n" + SPACE + "    low\n",
    "\ufeff" + SPACE.replace("\n", "\r\n"),
]


@pytest.mark.parametrize("text", TAKEN)
def test_helpers_that_are_used_private_names_and_imports_are_a_spaces_own_business(tmp_path: Path, text: str) -> None:
    source = read_source(write(tmp_path, text))
    assert "\r" not in source and not source.startswith("\ufeff")


def test_a_folder_and_a_missing_file_are_no_space(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path, "is a folder; name a text file."),
        (tmp_path / "no.py", f"no such file; the search spaces that come with drsearch are {SHIPPED}."),
        (write(tmp_path, "") / "no.py", f"no such file; the search spaces that come with drsearch are {SHIPPED}."),
        (tmp_path / ("x" * 300), "cannot be read (File name too long)."),
    ):
        with pytest.raises(SearchSpaceError) as refused:
            read_source(path)
        assert str(refused.value) == f"{path}: {said}"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("SETTINGS = {'training.epochs': 3}\n", {"training.epochs": 3}),
        ("SETTINGS: dict = {'training.epochs': 3}\n", {"training.epochs": 3}),
        ("SETTINGS = {'training.epochs': 1 + 2}\n", None),
        ("SETTINGS = {'training.epochs': 3}\nSETTINGS['training.epochs'] = 4\n", None),
        ("if True:\n    SETTINGS = {'training.epochs': 3}\n", None),
    ],
)
def test_settings_are_known_beforehand_where_they_are_written_out(text: str, settings: dict[str, int] | None) -> None:
    assert literal_settings(Path("mine.py"), text + SPACE) == settings


def test_a_file_is_judged_without_loading_a_library(tmp_path: Path) -> None:
    file = write(tmp_path, "import keras\nimport keras_tuner\n" + SPACE)
    program = (
        f"import sys; from pathlib import Path; from drsearch.space.source import read_source\n"
        f"read_source(Path({str(file)!r}))\n"
        "print([name for name in ('tensorflow', 'keras', 'keras_tuner', 'optuna', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
