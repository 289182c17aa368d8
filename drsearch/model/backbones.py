"""The network that `model.*` describes: the simplified ResNetV2, or one of keras.applications."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from keras import layers

from drsearch.errors import SettingsError
from drsearch.model.resnet_v2 import build_resnet, classifier
from drsearch.settings import RESNET, ModelSettings, Settings

NO_WEIGHTS, IMAGENET = "none", "imagenet"

_LEAST_PX = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
"""Smallest side of the images that a network takes; 32 for those that are not named."""


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """A block whose new networks compute in a precision; their weights are float32 in any case.

    Args:
        precision: `training.precision`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_network(settings: ModelSettings, image_px: int, n_classes: int = 2) -> keras.Model:
    """The network of some settings, with fresh weights, which `set_seeds` determines, or with those of `model.weights`.

    A network of keras.applications gets the classifier of the ResNet in the place of its own, and scales the images
    as its `preprocess_input` does.

    Args:
        settings: All of `model`.
        image_px: Side of the square image, pixels.
        n_classes: Columns of the result; column 1 of two is RDR.

    Returns:
        A model from RGB images, float32 in 0..255, shape `(n, image_px, image_px, 3)`, to probabilities, float32, shape
        `(n, n_classes)`, of Keras's own layers and operations.

    Raises:
        SettingsError: If the weights cannot be downloaded, or do not fit.

    Example:
        >>> build_network(ModelSettings(), image_px=64).name
        'resnet_v2'
    """
    if settings.backbone == RESNET:
        return build_resnet(settings, image_px, n_classes)
    images = keras.Input((image_px, image_px, 3), dtype="float32", name="images")
    backbone = _application(_scaled(images, settings.backbone), settings)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # as in the ResNet: their own remember a hundred steps or a thousand
    return keras.Model(images, classifier(backbone.output, settings, n_classes), name=settings.backbone)


def check_backbone(settings: Settings) -> None:
    """Refuse a network that cannot be built, without building it.

    Raises:
        SettingsError: If the images are too small for the backbone, `model.weights` is no file or not for it, or
            `model.trainable` does not suit it.
    """
    model, px = settings.model, settings.images.image_px
    if model.backbone == RESNET:
        if model.weights != NO_WEIGHTS:
            raise SettingsError(
                f"model.weights = {model.weights!r} is for a model.backbone of keras.applications, or for a space that "
                f"defines build_model; the ResNet starts at random. Leave it at {NO_WEIGHTS!r}."
            )
        if model.trainable != "all":
            raise SettingsError(
                f"model.trainable = {model.trainable!r} is for a model.backbone of keras.applications; the ResNet "
                "starts at random. Leave it at 'all'."
            )
        return
    check_weights_file(model)
    if model.trainable != "all":
        _check_frozen(settings)
    if px < (least := _LEAST_PX.get(model.backbone, 32)):
        raise SettingsError(
            f"images.image_px = {px}: {model.backbone} takes images of at least {least} pixels; "
            f"write images.image_px = {least} or more."
        )


def _check_frozen(settings: Settings) -> None:
    model, training = settings.model, settings.training
    trainable = f"model.trainable = {model.trainable!r}"
    if model.weights == NO_WEIGHTS:
        raise SettingsError(
            f"{trainable} trains a classifier on what {model.backbone} knows already, and model.weights = 'none' is at "
            "random; give imagenet or a file of weights."
        )
    if model.pooling == "attention":
        raise SettingsError(
            f"{trainable} keeps all but the classifier as it is, and model.pooling = 'attention' has weights to train; "
            "write another pooling, or model.trainable = 'all'."
        )
    for name in ("levels_weight", "lesions_weight", "edema_weight"):
        if (weight := getattr(training, name)) > 0:
            raise SettingsError(
                f"{trainable} trains a classifier of the two classes alone, without training.{name} = {weight}; "
                "leave it at 0, or write model.trainable = 'all'."
            )
    if model.trainable == "two_stage" and not 0 < training.head_epochs < training.epochs:
        raise SettingsError(
            f"training.head_epochs = {training.head_epochs}: {trainable} trains the classifier alone for these, then "
            f"all, for {training.epochs} epochs together (training.epochs); write 1 to {training.epochs - 1}."
        )


def check_weights_file(model: ModelSettings) -> None:
    """Refuse a `model.weights` that is neither a file nor one of its words.

    Raises:
        SettingsError: If there is no such file.
    """
    if model.weights not in (NO_WEIGHTS, IMAGENET) and not Path(model.weights).is_file():
        raise SettingsError(
            f"model.weights = {model.weights!r} is no file here; give none, imagenet, or the path of a file of weights "
            "that every worker can read."
        )


def check_weights(settings: Settings) -> None:
    """Refuse weights that cannot be loaded, by loading them; Keras downloads those of ImageNet once.

    Raises:
        SettingsError: If the weights cannot be downloaded, or do not fit.
    """
    if settings.model.backbone != RESNET and settings.model.weights != NO_WEIGHTS:
        build_network(settings.model, settings.images.image_px)


def _scaled(images: keras.KerasTensor, backbone: str) -> keras.KerasTensor:
    """Images as a network of keras.applications was trained on them: its `preprocess_input`, in layers."""
    if backbone.startswith(("ConvNeXt", "EfficientNet", "MobileNetV3")):
        return images  # these scale the images themselves
    if backbone.startswith("DenseNet"):
        means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1
        scale = [1 / (255 * deviation) for deviation in deviations]
        offset = [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]
        return layers.Rescaling(scale, offset, name="scaled_images")(images)
    if backbone.startswith("VGG") or re.fullmatch(r"ResNet\d+", backbone):
        blue_first = keras.ops.flip(images, axis=-1)
        return layers.Rescaling(1.0, [-103.939, -116.779, -123.68], name="scaled_images")(blue_first)
    return layers.Rescaling(1 / 127.5, -1.0, name="scaled_images")(images)


def _application(images: keras.KerasTensor, settings: ModelSettings) -> keras.Model:
    """A network of keras.applications without its classifier, from the model's input on, with its weights."""
    build = getattr(keras.applications, settings.backbone)
    given = {"include_top": False, "input_tensor": images, "input_shape": tuple(images.shape[1:])}
    if settings.weights == IMAGENET:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MobileNet says for which size its weights are; there is one file
                return build(weights=IMAGENET, **given)
        except Exception as wrong:  # what Keras's download raises
            raise SettingsError(_not_downloaded(settings.backbone, wrong)) from wrong
    backbone = build(weights=None, **given)
    if settings.weights != NO_WEIGHTS:
        try:
            backbone.load_weights(settings.weights)
        except Exception as wrong:  # Keras's readers raise whatever their parsing of another file ends in
            raise SettingsError(
                f"model.weights = {settings.weights!r} does not fit {settings.backbone} ({_first_line(wrong)}); give a "
                f"file that save_weights of keras.applications.{settings.backbone}(include_top=False) has written."
            ) from wrong
    return backbone


def _not_downloaded(backbone: str, wrong: Exception) -> str:
    url = re.search(r"https://\S+\.h5", str(wrong))
    return (
        f"model.weights = 'imagenet': the weights of {backbone} are not on this machine and cannot be downloaded "
        f"({_first_line(wrong)}); download {url[0] if url else 'them'} elsewhere, copy the file here, and give its "
        "path as model.weights."
    )


def _first_line(wrong: Exception) -> str:
    text = str(wrong).strip() or type(wrong).__name__
    return text.splitlines()[0].partition(". ")[0].rstrip(".")[:200]
