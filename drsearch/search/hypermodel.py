"""May a space's own network take the ResNet's place, and is it the network that it was? Both by its `build_model`."""

import ast
import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from drsearch.errors import MetricError, SettingsError
from drsearch.grades import CLASS_NAMES
from drsearch.settings import Value

PREFIX = "hypermodel."
"""Begins the name of whatever is drawn inside `build_model`: these are no settings."""

N_CLASSES = len(CLASS_NAMES)


def hypermodel_values(drawn: Mapping[str, Value]) -> dict[str, Value]:
    """What was drawn inside `build_model`, by the names used there."""
    return {name.removeprefix(PREFIX): value for name, value in drawn.items() if name.startswith(PREFIX)}


def to_setting(drawn: Mapping[str, Value]) -> str:
    """What was drawn inside `build_model`, as `model.hypermodel` keeps it."""
    return json.dumps(hypermodel_values(drawn))


def from_setting(text: str) -> dict[str, Value]:
    """The values that `model.hypermodel` keeps, by the names that a space draws them by.

    Raises:
        SettingsError: If it is no JSON object.
    """
    try:
        return {PREFIX + name: value for name, value in json.loads(text or "{}").items()}
    except (ValueError, AttributeError) as wrong:
        raise SettingsError(f"model.hypermodel = {text!r}: expected a JSON object, as a trial's settings.gin has it.") \
            from wrong  # fmt: skip


def what_is_wrong_with(model: Any, image_px: int) -> str | None:
    """Why a network cannot be a trial's, in a few words; None if it can.

    It must take images of 0..255, shape `(n, image_px, image_px, 3)`, end in a softmax over NRDR and RDR, open
    anywhere without code of the space's own, and have a layer with places, which Grad-CAM explains.
    """
    import keras  # here: whoever reads a study's definition needs no TensorFlow

    from drsearch.measure.gradcam import GradCam

    if not isinstance(model, keras.Model) or not model.built:
        return f"returns {type(model).__name__}, and not a built keras.Model"
    expected = ((None, image_px, image_px, 3), (None, N_CLASSES))
    if (model.input_shape, model.output_shape) != expected:
        return (
            f"returns a model from {model.input_shape} to {model.output_shape}; "
            f"images are {expected[0]}, and the answer is {expected[1]}, a softmax over {' and '.join(CLASS_NAMES)}"
        )
    for layer in _layers(model):
        kind = type(layer)
        if kind.__module__.partition(".")[0] != "keras" or kind is keras.layers.Lambda:
            return (
                f"uses {kind.__name__} of {kind.__module__}, which a registered model could not open without that "
                "code; use Keras's own layers (not Lambda)"
            )
    activation = getattr(model.layers[-1], "activation", keras.activations.softmax)
    if activation is not keras.activations.softmax:
        return f"ends in {model.layers[-1].name!r} with {activation.__name__}; end in a softmax"
    try:
        GradCam(model)
    except MetricError as wrong:
        return f"returns a model that cannot be explained: {str(wrong).rstrip('.')}"
    return None


def _layers(model: Any) -> Iterator[Any]:
    """A model and its layers, those of models inside it too."""
    yield model
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else [layer]


def network_code(source: str) -> str:
    """A digest of what a space file says of its network: all of it but `SETTINGS`, `space`, and what `hp` may draw.

    Two texts of a space with the same digest make the same network of the same values.
    """
    module = ast.parse(source)
    module.body = [statement for statement in module.body if not _says_nothing_of_the_network(statement)]
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
            node.args, node.keywords = node.args[:1], []
    return hashlib.sha256(ast.dump(module).encode()).hexdigest()


KINDS = ("Choice", "Int", "Float", "Boolean")


def changed_choices(before: str, now: str) -> str:
    """What Optuna forbids in going from one text of a space to another, in words; empty if nothing is seen."""
    old, new = _choices(before), _choices(now)
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            return (
                f", in which {name!r} has the choices {old[name]} (now {new[name]}), and Optuna does not let the "
                "choices of a stored study change"
            )
    return ""


def _choices(source: str) -> dict[str, list[Value]]:
    """The choices that a space file writes out, by name."""
    found: dict[str, list[Value]] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="Choice"), args=[ast.Constant(value=str(name)), ast.List() as values]
            ):
                with contextlib.suppress(ValueError):  # not written out
                    found[name] = ast.literal_eval(values)
    return found


def _says_nothing_of_the_network(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(name="space") | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="SETTINGS")]):
            return True
    return False
