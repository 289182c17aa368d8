"""A model's archive may come from anywhere: the loader reads a network and three tables, and runs nothing."""

import base64
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from drsearch.errors import RegistryError
from drsearch.serving.grader import Grader

MARK = Path("ran")


@pytest.fixture
def forged(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a good model; what runs in it leaves a file in the working folder."""
    for file in files.values():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(RegistryError) as wrong:
        Grader(folder).trained_on  # noqa: B018  # read when it is asked for
    assert not MARK.exists()
    said = str(wrong.value)
    assert "\n" not in said and said.endswith("name a model that drsearch registered.")
    return said


def rewrite(archive: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(archive, "w") as written:
        for name, data in members.items():
            written.writestr(name, data)


def test_code_in_a_lambda_layer_is_not_run(forged: Path) -> None:
    def run(x: Any) -> Any:
        import pathlib

        pathlib.Path("ran").touch()
        return x

    inputs = keras.Input((32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(run, output_shape=(32, 32, 3))(inputs))
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features)).save(forged / "model.keras")
    MARK.unlink(missing_ok=True)  # the layer was called when it was made
    said = refused(forged)
    assert said.startswith(
        f"{forged / 'model.keras'}: not opened, since it is damaged or holds code, which drsearch never "
    )


def other_class(module: str, name: str, settings: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Names another class, or a function, in the place of a layer."""

    def change(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][1]
        layer |= {"module": module, "class_name": name, "config": settings, "registered_name": None}

    return change


@pytest.mark.parametrize(
    "change",
    [
        other_class("os", "system", {"command": "touch ran"}),
        other_class("subprocess", "run", {"args": ["touch", "ran"]}),
        other_class("builtins", "function", {"config": "exec", "fn": "open('ran', 'w')"}),
        other_class("keras.src.utils.file_utils", "copy", {"src": "model.keras", "dst": "ran"}),
        other_class("keras.utils", "get_file", {"fname": "ran", "origin": "file:///etc/hostname"}),
        other_class("keras.layers", "TFSMLayer", {"filepath": ".", "name": "x"}),
        other_class("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd", "name": "x"}),
        lambda config: config.update(module="os", class_name="system", config="touch ran"),
        lambda config: config.update({"class_name": "__lambda__", "config": {"value": "4wAAAAA="}}),
        lambda config: config.clear(),
    ],
    ids=["os.system", "subprocess", "exec", "copy a file", "fetch a file", "a SavedModel", "read a file", "no model",
         "a lambda for a model", "nothing"],
)  # fmt: skip
def test_a_network_that_names_other_code_is_refused(forged: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rewrite(forged / "model.keras", change)
    assert "not opened, since it is damaged or holds code" in refused(forged)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04\x95pickle", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_what_is_no_network_is_refused(forged: Path, data: bytes) -> None:
    (forged / "model.keras").write_bytes(data)
    assert "not opened, since it is damaged or holds code" in refused(forged)


def test_a_network_for_something_else_is_refused(forged: Path) -> None:
    inputs = keras.Input((48, 48, 3))
    outputs = keras.layers.Dense(5, activation="softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(forged / "model.keras")
    assert refused(forged) == (
        f"{forged / 'model.keras'}: the network takes (None, 48, 48, 3) and gives (None, 5), where serving.json asks "
        "for (None, 32, 32, 3) and (None, 2); name a model that drsearch registered."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1.5}, {"threshold": "0.5"}, {"threshold": None}, {"temperature": 0}, {"temperature": -1.0},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"images": {"image_px": 10**9}}, {"images": 3},
        {"images": {"image_px": 32, "command": "touch ran"}}, {"data": []}, {"symmetries": 3}, {"symmetries": True},
        {"symmetries": "8"}, {"quality_limits": [0.1] * 4},
        {"quality_limits": {"limits": [0.1] * 3, "n": 9}},
        {"quality_limits": {"limits": [0.1, 0.1, 0.1, 9.0], "n": 9}},
        {"quality_limits": {"limits": [0.1, 0.1, 0.1, float("nan")], "n": 9}},
        {"quality_limits": {"limits": [0.1] * 4, "n": "9"}},
    ],
)  # fmt: skip
def test_a_serving_file_that_is_off_is_refused(forged: Path, change: dict[str, Any]) -> None:
    file = forged / "serving.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert refused(forged) == f"{file}: not as drsearch writes it; name a model that drsearch registered."


def test_a_familiarity_that_is_off_is_refused(forged: Path) -> None:
    file = forged / "familiarity.json"
    good = json.loads(file.read_text())
    cloud, n = good["clouds"]["layout"], 192

    def array(value: float, size: int) -> str:
        return base64.b64encode(np.full(size, value, "<f4").tobytes()).decode()

    changes: list[dict[str, Any]] = [
        {"version": 0}, {"limit": 0}, {"limit": float("nan")}, {"limit": 1e300}, {"limit": True}, {"n_train": "many"},
        {"image_px": 64}, {"image_px": 10**9}, {"image_px": -1}, {"image_px": 31.5}, {"clouds": {}}, {"clouds": []},
        *({"clouds": {**good["clouds"], "layout": {**cloud, **change}}} for change in (
            {"mean": array(1, n - 1)}, {"mean": array(np.inf, n)}, {"scale": array(0, n)}, {"scale": array(np.nan, n)},
            {"precision": array(1, n)}, {"precision": array(1e30, n * n)}, {"precision": "x"}, {"mean": None},
            {"usual": -1.0}, {"usual": "1"},
        )),
    ]  # fmt: skip
    for change in changes:
        file.write_text(json.dumps({**good, **change}))
        assert refused(forged) == f"{file}: not as drsearch writes it; name a model that drsearch registered."
    file.write_text(json.dumps(good))
    Grader(forged)


@pytest.mark.parametrize("name", ["serving.json", "trained_on.json", "familiarity.json"])
@pytest.mark.parametrize("text", ["", "[", "[]x", "7", '["a"]', '{"a": ' * 50_000, "\x00"])
def test_a_table_that_cannot_be_read_is_refused(forged: Path, name: str, text: str) -> None:
    (forged / name).write_text(text)
    assert refused(forged) == f"{forged / name}: not as drsearch writes it; name a model that drsearch registered."


def test_weights_that_point_to_a_file_of_this_machine_are_refused(forged: Path) -> None:
    with zipfile.ZipFile(forged / "model.keras") as opened:
        opened.extractall(forged / "parts")
    shutil.copy(forged / "parts/model.weights.h5", forged / "secret.h5")
    with h5py.File(forged / "parts/model.weights.h5", "a") as weights:
        path = next(name for name in _datasets(weights) if weights[name].ndim == 4)
        del weights[path]
        weights[path] = h5py.ExternalLink(str(forged / "secret.h5"), path)
    with zipfile.ZipFile(forged / "model.keras", "w") as written:
        for part in (forged / "parts").iterdir():
            written.write(part, part.name)
    assert "not opened, since it is damaged or holds code" in refused(forged)


def _datasets(weights: h5py.File) -> list[str]:
    found: list[str] = []
    weights.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found
