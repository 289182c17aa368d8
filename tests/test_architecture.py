"""Do imports still point one way, and do heavy libraries stay where they belong?"""

import ast
import functools
import graphlib
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "drsearch"
GROUND_IN_ORDER = [
    "startup",
    "masking",
    "errors",
    "grades",
    "metrics",
    "constraints",
    "settings",
    "home",
    "run_folder",
    "waiting",
    "files",
    "log",
    "signals",
    "texts",
    "processes",
    "provenance",
]
GROUND_TO_ROOF = [
    set(GROUND_IN_ORDER),
    {"datasets"},
    {"data", "measure", "tracking", "config"},
    {"model"},
    {"space"},
    {"training"},
    {"trials"},
    {"study"},
    {"workers"},
    {"serving"},
    {"release"},
    {"reports"},
    {"display"},
    {"api"},
    {"cli"},
]
FLOOR = {room: height for height, rooms in enumerate(GROUND_TO_ROOF) for room in rooms}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__"))

ONLY_IN = {
    "gin": {"config"},
    "mlflow": {"tracking", "study", "serving", "release"},
    "optuna": {"space", "trials", "study", "workers"},
    "optuna_dashboard": {"study"},
    "jinja2": {"reports"},
    "keras_tuner": {"space"},
    "openpyxl": {"datasets"},
    "pydicom": {"data"},
    "tomli_w": {"datasets"},
    "typer": {"cli"},
    "pandas": {"serving", "api"},
    "ray": {"workers"},
    "rich": {"display", "api", "cli"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "xlrd": {"datasets"},
}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_from_roof_to_ground(path: Path) -> None:
    room = room_of(path)
    others = {name.split(".")[1] for name in imported(path) if name.startswith("drsearch.")} & (FLOOR.keys() - {room})
    for other in others:
        below = FLOOR[other] < FLOOR[room] or (
            FLOOR[other] == FLOOR[room] == 0 and GROUND_IN_ORDER.index(other) < GROUND_IN_ORDER.index(room)
        )
        assert below, f"{room} reaches up or sideways to {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {name.partition(".")[0] for name in imported(path)}
    for library in used & ONLY_IN.keys():
        assert room_of(path) in ONLY_IN[library], f"{path.name} imports {library}"


def test_every_room_is_on_the_plan() -> None:
    assert {room_of(path) for path in FILES} == FLOOR.keys()


def test_every_room_says_what_it_is_for() -> None:
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} opens without a sentence"


def test_the_map_of_files_is_whole() -> None:
    page = (ROOT.parent / "docs" / "how_it_works.md").read_text()
    mapped = set(re.findall(r"^\| `([\w/]+\.py)` \| \S", page, re.MULTILINE))
    files = {path.relative_to(ROOT).as_posix() for path in FILES if path.name != "__init__.py"}
    assert mapped == files | {"__init__.py", "__main__.py"}


def test_no_file_is_in_a_circle() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    below = {}
    for name, path in names.items():
        used = {each.removeprefix("drsearch.") for each in imported(path)}
        below[name] = {other for other in names if any(f"{each}.".startswith(f"{other}.") for each in used)}
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError with the circle


ROOMS_THAT_RUN_STUDIES = ("space", "training", "trials", "study", "workers")


def test_docstrings_say_what_functions_take_and_give() -> None:
    counts = runpy.run_path(str(ROOT.parent / "docs" / "counts.py"))
    for room in ROOMS_THAT_RUN_STUDIES:
        totals = [counts["count"](path) for path in FILES if room_of(path) == room]
        with_three_arguments, with_args = sum(each.long for each in totals), sum(each.with_args for each in totals)
        assert with_args >= 0.9 * with_three_arguments, f"{room}: `Args:` in {with_args} of {with_three_arguments}"
        returning, say_what = sum(each.returning for each in totals), sum(each.say_what for each in totals)
        assert say_what >= 0.8 * returning, f"{room}: {say_what} of {returning} docstrings say what is returned"
