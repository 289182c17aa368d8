"""The default network: the simplified ResNetV2, in ordinary Keras layers."""

import keras
from keras import layers

from drsearch.settings import ModelSettings


def build_resnet(settings: ModelSettings, image_px: int, n_classes: int = 2) -> keras.Model:
    """The simplified ResNetV2 with fresh weights, which `set_seeds` determines.

    7x7 convolution (stride 2), batch normalisation, ReLU; 3x3 max pool (stride 2); `stages`
    stages of pre-activation blocks, each halving the resolution at its first block and twice
    as wide as the one before; ReLU; global average pool, and the global maximum beside it if set;
    dropout if set; softmax.

    Args:
        settings: Width, depth, pooling and dropout.
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

    Example:
        >>> build_resnet(ModelSettings(), image_px=64).count_params()
        79906
    """
    images = keras.Input((image_px, image_px, 3), dtype="float32", name="images")
    x = layers.Rescaling(1 / 255, name="rescale")(images)
    x = _convolution(settings.width, 7, "stem_conv", strides=2)(x)
    x = _normalisation("stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage in range(settings.stages):
        for block in range(settings.blocks_per_stage):
            name = f"stage{stage + 1}_block{block + 1}"
            x = _block(x, settings.width * 2**stage, strides=2 if block == 0 else 1, name=name)
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
    x = layers.GlobalAveragePooling2D(name="pool")(places)
    if settings.pooling == "mean_max":
        x = layers.Concatenate(name="pools")([x, layers.GlobalMaxPooling2D(name="max_pool")(places)])
    if settings.dropout > 0:
        x = layers.Dropout(settings.dropout, name="dropout")(x)
    # float32 whatever the policy: a softmax in half precision rounds small probabilities to 0
    return layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities")(x)


def _block(x: keras.KerasTensor, width: int, strides: int, name: str) -> keras.KerasTensor:
    """BN, ReLU, 3x3, BN, ReLU, 3x3, added to the input: itself, or projected where its shape changes."""
    active = _normalisation(f"{name}_bn1")(x)
    active = layers.ReLU(name=f"{name}_relu1")(active)
    shortcut = x
    if strides != 1:
        shortcut = _convolution(width, 1, f"{name}_shortcut", strides=strides)(active)
    residual = _convolution(width, 3, f"{name}_conv1", strides=strides)(active)
    residual = _normalisation(f"{name}_bn2")(residual)
    residual = layers.ReLU(name=f"{name}_relu2")(residual)
    # the only convolution whose result no batch normalisation shifts: the last ReLU needs its bias
    residual = _convolution(width, 3, f"{name}_conv2", use_bias=True)(residual)
    return layers.Add(name=f"{name}_add")([shortcut, residual])


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


def _normalisation(name: str) -> layers.BatchNormalization:
    # Keras's default of 0.99 remembers a hundred steps, ten epochs of forty eyes: validation then measures weights
    # long gone. After 15 epochs on 40 synthetic eyes (128 px, two seeds) validation loss was 1.6 and 3.3 with 0.99,
    # 0.45 and 0.38 with 0.9; on IDRiD (128 px, mean of epochs 3 to 14) 0.72 and 0.64, at the same AUC.
    return layers.BatchNormalization(momentum=0.9, name=name)
