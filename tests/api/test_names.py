"""The public names: their list, what importing them costs, and what they say of themselves."""

import inspect
import re
import subprocess
import sys

import pytest

import drsearch

CLASSES = [
    "Ablation", "Checkup", "Cleaning", "CrossValidation", "Data", "DrsearchError", "Interrupted", "Model", "Promotion",
    "Settings", "Study", "Training",
]  # fmt: skip
FUNCTIONS = [
    "ablate", "change_password", "clean", "compare", "cross_validate", "dashboard", "describe_data",
    "describe_space", "doctor", "evaluate", "explain", "history", "join_study", "lineage", "load_model", "load_study",
    "model_card", "prepare", "promote", "report", "rollback", "run_study", "serve", "set_users", "spaces", "stress",
    "studies", "sync", "synthesize", "train", "ui",
]  # fmt: skip
HEAVY = (
    "tensorflow",
    "keras",
    "keras_tuner",
    "optuna",
    "mlflow",
    "cv2",
    "numpy",
    "pandas",
    "plotly",
    "rich",
    "sklearn",
)


def test_the_public_names_are_these() -> None:
    assert sorted(drsearch.__all__) == sorted([*CLASSES, *FUNCTIONS])
    assert set(drsearch.__all__) <= set(dir(drsearch))
    assert all(inspect.isclass(getattr(drsearch, name)) for name in CLASSES)
    assert all(inspect.isfunction(getattr(drsearch, name)) for name in FUNCTIONS)


def test_a_name_that_is_not_there_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'drsearch' has no attribute 'run_studdy'"):
        drsearch.run_studdy  # noqa: B018


def test_importing_loads_nothing_heavy() -> None:
    program = f"import sys, drsearch; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_takes_gives_and_refuses(name: str) -> None:
    function = getattr(drsearch, name)
    text = inspect.getdoc(function) or ""
    arguments = inspect.signature(function).parameters
    for argument in arguments:
        assert re.search(rf"^ +\**{argument}: ", text.partition("Args:")[2].partition("Returns:")[0], re.MULTILINE), (
            argument
        )
    assert "Returns:" in text or "Yields:" in text
    assert function.__annotations__.keys() == {*arguments, "return"}
