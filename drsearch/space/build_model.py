"""Checks the network of a space's own `build_model`, and tells whether two texts of a space make the same one."""

import ast
import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from drsearch.errors import MetricError, SettingsError
from drsearch.grades import CLASS_NAMES
from drsearch.settings import Value

PREFIX = "hypermodel."
"""Prefix of every name that is drawn inside `build_model`: these are no settings."""

N_CLASSES = len(CLASS_NAMES)


def hypermodel_values(drawn: Mapping[str, Value]) -> dict[str, Value]:
    """The values drawn inside `build_model`, by the names used there.

    Example:
        >>> hypermodel_values({"training.epochs": 40, "hypermodel.units": 16})
        {'units': 16}
    """
    return {name.removeprefix(PREFIX): value for name, value in drawn.items() if name.startswith(PREFIX)}


def settings_in(drawn: Mapping[str, Value]) -> dict[str, Value]:
    """The settings among the values drawn: all but those drawn inside `build_model`.

    Example:
        >>> settings_in({"training.epochs": 40, "hypermodel.units": 16})
        {'training.epochs': 40}
    """
    return {name: value for name, value in drawn.items() if not name.startswith(PREFIX)}


def to_setting(drawn: Mapping[str, Value]) -> str:
    """The values drawn inside `build_model`, as the setting `model.hypermodel` holds them.

    Example:
        >>> to_setting({"training.epochs": 40, "hypermodel.units": 16})
        '{"units": 16}'
    """
    return json.dumps(hypermodel_values(drawn))


def from_setting(text: str) -> dict[str, Value]:
    """The values of the setting `model.hypermodel`, by the names that a space draws them by.

    Example:
        >>> from_setting('{"units": 16}')
        {'hypermodel.units': 16}

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

    The network must take images of 0..255, shape `(n, image_px, image_px, 3)`, and return probabilities of NRDR and
    RDR, shape `(n, 2)`; a registered copy must load without the code of the space; and Grad-CAM needs a layer with
    spatial output. Its output is tested on images of noise, whatever its last layer is.

    Args:
        model: The network. Its weights are changed during the test, and restored afterwards.
        image_px: Side of the images.
    """
    import keras  # here: whoever reads a study's definition needs no TensorFlow

    from drsearch.measure.gradcam import GradCam

    if not isinstance(model, keras.Model):
        return f"returns {type(model).__name__}, and not a built keras.Model"
    if foreign := _foreign_part(model):
        return (
            f"uses {foreign}, which a registered model could not open without that code; use Keras's own layers "
            "(not Lambda) and functions"
        )
    if not model.built:
        return f"returns a {type(model).__name__} that is not built: begin it with keras.Input((image_px, image_px, 3))"
    expected = ((None, image_px, image_px, 3), (None, N_CLASSES))
    if (model.input_shape, model.output_shape) != expected:
        return (
            f"returns a model from {model.input_shape} to {model.output_shape}; "
            f"images are {expected[0]}, and the answer is {expected[1]}, a softmax over {' and '.join(CLASS_NAMES)}"
        )
    if model.compiled:
        return (
            "returns a compiled model, whose loss, optimizer and metrics would not be used: trials train with "
            "cross-entropy and training.*; leave compile() out, or of a hypermodel that compiles itself return "
            "keras.Model(model.input, model.output)"
        )
    if wrong := _what_is_wrong_with_answers(model, image_px):
        return wrong
    try:
        GradCam(model)
    except MetricError as error:
        return f"returns a model that cannot be explained: {str(error).rstrip('.')}"
    return None


def _foreign_part(model: Any) -> str:
    """A layer, function or other part of a model that does not come with Keras; empty if there is none."""
    import keras

    kinds = (keras.Layer, keras.initializers.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)
    for layer in _layers(model):
        for part in (layer, *vars(layer).values()):
            kind = type(part)
            if isinstance(part, kinds) and (not _is_of_keras(kind) or kind is keras.layers.Lambda):
                return f"{kind.__name__} of {kind.__module__}"
            if isinstance(part, FunctionType) and not hasattr(part, "__wrapped__"):  # Keras wraps methods of its layers
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Keras warns of lambdas, which are refused here
                    if not isinstance(keras.activations.serialize(part), str):  # no name that Keras knows
                        return f"the function {part.__name__} of {part.__module__}"
    return ""


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def _what_is_wrong_with_answers(model: Any, image_px: int) -> str | None:
    dice = np.random.default_rng(0)
    # From bright to black: two sigmoids that are certain of a bright image may sum to 1, and not of a dark one.
    brightest = np.array([255, 16, 1], np.float32)
    images = dice.random((len(brightest), image_px, image_px, 3), np.float32) * brightest[:, None, None, None]
    # A classifier may start at zero: it answers 0.5 and 0.5 to all then, whatever it ends in.
    answers = _answers(model, images, 0, lambda kernel: not kernel.any())
    if not np.isfinite(answers).all():
        return f"answers {_shown(answers[~np.isfinite(answers).all(axis=1)][0])} to an image of noise"
    off = (answers < 0).any(axis=1) | (answers > 1).any(axis=1) | (abs(answers.sum(axis=1) - 1) > _OFF_ONE)
    if off.any():
        return f"answers {_shown(answers[off][0])} to an image of noise, which are no probabilities; end in a softmax"
    # Units that happen to be dead do not look at the image either: no other weights may help.
    for seed in (1, 2, 3):
        if not (answers == answers[0]).all():
            return None
        answers = _answers(model, images, seed, lambda _: True)
    return f"answers {_shown(answers[0])} to every image: what it answers does not depend on the image"


_OFF_ONE = 0.01
"""By how much the sum of probabilities may be off one: networks may compute in half precision."""


def _answers(model: Any, images: Any, seed: int, is_redrawn: Callable[[Any], bool]) -> Any:
    """The output of a network after some of its kernels were drawn anew; they are restored afterwards."""
    import keras

    kernels = [weight for weight in model.trainable_variables if len(weight.shape) > 1]
    redrawn = [(kernel, value) for kernel in kernels if is_redrawn(value := kernel.numpy())]
    for n, (kernel, _) in enumerate(redrawn):
        kernel.assign(keras.initializers.HeNormal(seed=1000 * seed + n)(kernel.shape))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras says of a list of one input that it expected a list
            return np.asarray(model(images, training=False), np.float64)
    finally:
        for kernel, value in redrawn:
            kernel.assign(value)


def _shown(answer: Any) -> str:
    return f"[{', '.join(f'{value:.3g}' for value in answer)}]"


def _layers(model: Any) -> Iterator[Any]:
    """A model and its layers, including those of nested models."""
    yield model
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else [layer]


def functions_of(source: str) -> list[str]:
    """The functions of a space file that take part in a training, by name."""
    names = {name for statement in ast.parse(source).body for name in _defined(statement)}
    return [name for name in ("build_model", "build_loss", "augment", "objective") if name in names]


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
        case ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name for alias in aliases]
    return []


def own_code(source: str) -> str:
    """A digest of the code of a space's functions: the file without `SETTINGS`, `space` and the ranges of `hp`.

    Two texts of a space with the same digest make the same network, loss and augmentation from the same values.
    """
    module = ast.parse(source)
    module.body = [statement for statement in module.body if not _says_nothing_of_the_network(statement)]
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
            node.args, node.keywords = node.args[:1], []
    return hashlib.sha256(ast.dump(module).encode()).hexdigest()


KINDS = ("Choice", "Int", "Float", "Boolean")


def changed_choices(before: str, now: str) -> str:
    """How the choices of a name changed between two texts of a space, in words; empty if they did not.

    Optuna forbids such a change within a study.
    """
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
    choices: dict[str, list[Value]] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="Choice"), args=[ast.Constant(value=str(name)), ast.List() as values]
            ):
                with contextlib.suppress(ValueError):  # not written out
                    choices[name] = ast.literal_eval(values)
    return choices


def _says_nothing_of_the_network(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(name="space") | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="SETTINGS")]):
            return True
    return False
