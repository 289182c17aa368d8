"""The default network: the simplified ResNetV2, in ordinary Keras layers."""

import math

import keras
from keras import layers

from drsearch.settings import ModelSettings

_GROUPS = 8
"""Of group normalisation: as many as divide the channels."""

_SHARPNESS = 5.0
"""Of log-sum-exp: towards 0 it is the mean, and the larger, the nearer to the maximum."""


def build_resnet(settings: ModelSettings, image_px: int, n_classes: int = 2) -> keras.Model:
    """The simplified ResNetV2 with fresh weights, which `set_seeds` determines.

    7x7 convolution (stride 2), normalisation, ReLU; 3x3 max pool (stride 2); `stages`
    stages of pre-activation blocks, each halving the resolution at its first block and twice
    as wide as the one before; ReLU; global pool; dropout if set; softmax.

    Args:
        settings: Width, depth, normalisation, what a block has beside, pooling and dropout.
        image_px: Side of the square image, pixels.
        n_classes: Columns of the result; column 1 of two is RDR.

    Returns:
        A model from RGB images, float32 in 0..255, shape `(n, image_px, image_px, 3)`, to
        probabilities, float32, shape `(n, n_classes)`. It scales the images itself and holds
        no layer of ours, so that any Keras 3 opens the saved file. The last layer with an
        image-shaped output is called `post_relu`.

    Source:
        He, Zhang, Ren and Sun (2016), Identity Mappings in Deep Residual Networks,
        arXiv:1603.05027, figure 4(e); a projection starts from the activated input, as in their published code.
        Their batch normalisation before the last ReLU is left out.
        Group normalisation: Wu and He (2018), arXiv:1803.08494, here of 8 groups. Squeeze-and-excitation: Hu, Shen and
        Sun (2018), arXiv:1709.01507, here with a reduction of 4, for the stages are narrow. Stochastic depth: Huang et
        al. (2016), arXiv:1603.09382, with their linear rise and the scale at training instead of test.
        Log-sum-exp: Pinheiro and Collobert (2015), arXiv:1411.6228. Gated attention: Ilse, Tomczak and Welling (2018),
        arXiv:1802.04712, section 2.4, the places being the instances.

    Example:
        >>> build_resnet(ModelSettings(), image_px=64).count_params()
        79906
    """
    images = keras.Input((image_px, image_px, 3), dtype="float32", name="images")
    x = layers.Rescaling(1 / 255, name="rescale")(images)
    x = _convolution(settings.width, 7, "stem_conv", strides=2)(x)
    x = _normalised(x, settings, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    n_blocks = settings.stages * settings.blocks_per_stage
    for index in range(n_blocks):
        stage, block = divmod(index, settings.blocks_per_stage)
        name = f"stage{stage + 1}_block{block + 1}"
        drop = settings.drop_path * (index + 1) / n_blocks
        x = _block(x, settings, settings.width * 2**stage, strides=2 if block == 0 else 1, drop=drop, name=name)
    x = layers.ReLU(name="post_relu")(x)
    return keras.Model(images, classifier(x, settings, n_classes), name="resnet_v2")


def classifier(places: keras.KerasTensor, settings: ModelSettings, n_classes: int) -> keras.KerasTensor:
    """Probabilities of a map: pooled over its places as `model.pooling` says, dropout if set, softmax.

    Args:
        places: Shape `(n, rows, columns, channels)`.
        settings: Pooling and dropout.
        n_classes: Columns of the result.

    Returns:
        float32, shape `(n, n_classes)`.
    """
    x = _pooled(places, settings.pooling)
    if settings.dropout > 0:
        x = layers.Dropout(settings.dropout, name="dropout")(x)
    # float32 whatever the policy: a softmax in half precision rounds small probabilities to 0
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities")(x)


def _block(
    x: keras.KerasTensor, settings: ModelSettings, width: int, strides: int, drop: float, name: str
) -> keras.KerasTensor:
    """BN, ReLU, 3x3, BN, ReLU, 3x3, added to the input: itself, or projected where its shape changes."""
    active = _normalised(x, settings, name, "1")
    active = layers.ReLU(name=f"{name}_relu1")(active)
    shortcut = x
    if strides != 1:
        shortcut = _convolution(width, 1, f"{name}_shortcut", strides=strides)(active)
    residual = _convolution(width, 3, f"{name}_conv1", strides=strides)(active)
    residual = _normalised(residual, settings, name, "2")
    residual = layers.ReLU(name=f"{name}_relu2")(residual)
    # the only convolution whose result no normalisation shifts: the last ReLU needs its bias
    residual = _convolution(width, 3, f"{name}_conv2", use_bias=True)(residual)
    if settings.squeeze_excitation:
        share = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(residual)
        share = layers.Dense(max(1, width // 4), activation="relu", name=f"{name}_excite1")(share)
        share = layers.Dense(width, activation="sigmoid", name=f"{name}_excite2")(share)
        residual = layers.Multiply(name=f"{name}_scale")([residual, share])
    if drop > 0:
        residual = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop_path")(residual)
    return layers.Add(name=f"{name}_add")([shortcut, residual])


def _pooled(places: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """One value per channel, or two. No layer here keeps the places, so that Grad-CAM explains `post_relu`."""
    if pooling in ("mean", "mean_max"):
        mean = layers.GlobalAveragePooling2D(name="pool")(places)
        if pooling == "mean":
            return mean
        return layers.Concatenate(name="pools")([mean, layers.GlobalMaxPooling2D(name="max_pool")(places)])
    _, height, width, channels = places.shape
    listed = layers.Reshape((height * width, channels), name="places")(places)
    if pooling == "log_sum_exp":
        return _log_sum_exp(listed)
    hidden = max(1, channels // 2)
    looks = layers.Dense(hidden, activation="tanh", name="attention_values")(listed)
    gates = layers.Dense(hidden, activation="sigmoid", name="attention_gates")(listed)
    scores = layers.Dense(1, name="attention_scores")(layers.Multiply(name="attention_gated")([looks, gates]))
    shares = layers.Softmax(axis=1, name="attention")(scores)
    return layers.Flatten(name="pool")(layers.Dot(axes=1, name="attended")([shares, listed]))


def _log_sum_exp(listed: keras.KerasTensor) -> keras.KerasTensor:
    return (keras.ops.logsumexp(_SHARPNESS * listed, axis=1) - math.log(listed.shape[1])) / _SHARPNESS


def every_pooling(model: keras.Model, pooling: str) -> tuple[keras.Model, slice]:
    """A network up to all that a pooling without weights gives, so that what is computed serves every one of them.

    Args:
        model: Ends in `classifier`.
        pooling: Its own: `mean`, `mean_max` or `log_sum_exp`.

    Returns:
        The network, from the same images to three values per channel; and where those of its own pooling lie.
    """
    places = model.get_layer("places" if pooling == "log_sum_exp" else "pool").input
    _, height, width, n = places.shape
    listed = layers.Reshape((height * width, n))(places)
    pools = [keras.ops.mean(listed, axis=1), keras.ops.max(listed, axis=1), _log_sum_exp(listed)]
    own = {"mean": slice(n), "mean_max": slice(2 * n), "log_sum_exp": slice(2 * n, None)}[pooling]
    return keras.Model(model.input, keras.ops.concatenate(pools, axis=1), name=model.name), own


def _convolution(width: int, size: int, name: str, strides: int = 1, use_bias: bool = False) -> layers.Conv2D:
    # He et al. (2015), arXiv:1502.01852: keeps the variance through ReLUs
    return layers.Conv2D(
        width,
        size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )


def _normalised(x: keras.KerasTensor, settings: ModelSettings, name: str, number: str = "") -> keras.KerasTensor:
    if settings.normalisation == "group":
        return layers.GroupNormalization(math.gcd(x.shape[-1], _GROUPS), name=f"{name}_gn{number}")(x)
    # Keras's default of 0.99 remembers a hundred steps, ten epochs of forty eyes: validation then measures weights
    # long gone. After 15 epochs on 40 synthetic eyes (128 px, two seeds) validation loss was 1.6 and 3.3 with 0.99,
    # 0.45 and 0.38 with 0.9; on IDRiD (128 px, mean of epochs 3 to 14) 0.72 and 0.64, at the same AUC.
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn{number}")(x)
