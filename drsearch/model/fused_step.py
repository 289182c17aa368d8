"""One training step as one graph: as Keras defines it, with one kernel instead of several where both mean the same.

The methods are Keras's own: batch normalisation and Adam agree with it up to rounding, and the saved model is the model
that was given. `python -m benchmarks.operations` counts the operations that a step saves, `python -m benchmarks.epoch`
measures its time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from drsearch.model.grade_levels import LEVELS
from drsearch.model.losses import LOSSES, Loss
from drsearch.model.predictor import RDR
from drsearch.model.second_head import SecondHead, with_outputs
from drsearch.model.weight_average import WeightAverage

Fit = Callable[[Iterator[Any], tf.Tensor], tuple[tf.Tensor, ...]]
"""`fit(batches, steps)` takes that many steps and returns three values per image, in the order seen: cross-entropy,
label, and the probability of RDR before its step; with grades also the grade, and the one that the levels gave. Of
mixed images label and grade are those of the larger share."""


def compiled_fit(
    model: keras.Model,
    optimizer: keras.Optimizer,
    fused: bool = True,
    *,
    loss: Loss | None = None,
    second_heads: Sequence[SecondHead] = (),
    average: WeightAverage | None = None,
    with_grades: bool = False,
    xla: bool = False,
) -> Fit:
    """A whole epoch in one graph: no step returns to Python.

    Args:
        model: Ends in a softmax over NRDR and RDR.
        optimizer: Built for the model's trainable weights.
        fused: Use fused kernels where they exist; False computes every step with Keras's own operations.
        loss: That a step lowers, in the mean over its images; None for cross-entropy, which is returned in any case.
        second_heads: Layers of the model that learn further targets; the batches hold these in the same order.
        average: Of the model's weights, updated after every step.
        with_grades: Whether grades are returned; then the levels are among the heads.
        xla: Whether XLA compiles a step; once for every size of a batch.
    """
    network = with_outputs(model, second_heads)
    network = _with_other_kernels(network) if fused else network
    apply = _apply_fused if fused and _is_plain_adam(optimizer, model) else _apply

    def fitted(losses: tf.Tensor, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        if loss is None and labels.dtype.is_integer:
            return losses
        shares = tf.cast(labels, tf.float32)
        return (loss or LOSSES["cross_entropy"])(tf.stack([1 - shares, shares], axis=1), probabilities)

    place_of_levels = [head.layer for head in second_heads].index(LEVELS) if with_grades else 0

    def step(some_images: tf.Tensor, some_labels: tf.Tensor, *some_targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            answers = network(tf.cast(some_images, tf.float32), training=True)
            # In float32 also those of a space's own network that computes in bfloat16 to its end.
            probabilities, *outputs = [tf.cast(each, tf.float32) for each in (answers if second_heads else [answers])]
            labels = tf.cast(some_labels if some_labels.dtype.is_integer else some_labels > 0.5, tf.int64)
            losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            second_losses = [
                head.weight * head.loss(target, output)
                for head, target, output in zip(second_heads, some_targets, outputs, strict=True)
            ]
            mean_loss = tf.reduce_mean(fitted(losses, some_labels, probabilities))
            objective = tf.add_n([mean_loss, *network.losses, *second_losses])
        apply(optimizer, tape.gradient(objective, model.trainable_variables), model.trainable_variables)
        if average is not None:
            average.update()
        if not with_grades:
            return losses, labels, probabilities[:, RDR]
        grades = tf.math.count_nonzero(some_targets[place_of_levels] > 0.5, axis=1)
        predicted = tf.floor(tf.reduce_sum(outputs[place_of_levels], axis=1) + 0.5)
        return losses, labels, probabilities[:, RDR], grades, tf.cast(predicted, tf.int64)

    take_step = tf.function(step, jit_compile=True, autograph=False) if xla else step
    kinds = (tf.float32, tf.int64, tf.float32, *[tf.int64] * (2 * with_grades))

    def fit(batches: Iterator[Any], steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def take(number: tf.Tensor, *so_far: tf.TensorArray) -> tuple[Any, ...]:
            values = take_step(*next(batches))
            return number + 1, *(array.write(number, each) for array, each in zip(so_far, values, strict=True))

        arrays = [tf.TensorArray(dtype, size=steps, infer_shape=False, element_shape=(None,)) for dtype in kinds]
        _, *values = tf.while_loop(
            lambda number, *_: number < steps, take, (tf.constant(0), *arrays), maximum_iterations=steps
        )
        return tuple(array.concat() for array in values)

    # To rewrite the source of a Python loop would take AutoGraph half a second in every process that trains.
    return tf.function(fit, autograph=False)  # type: ignore[no-any-return]


def _with_other_kernels(model: keras.Model) -> keras.Model:
    """The same network on the same weights; while training some layers, in models within it too, take other kernels."""

    def shared(layer: keras.layers.Layer) -> keras.layers.Layer:
        if _can_be_fused(layer):
            return _FusedNormalisation(layer)
        return _SubsampledConvolution(layer) if _is_strided_projection(layer) else layer

    try:
        return keras.models.clone_model(model, clone_function=shared, recursive=True)
    except ValueError:  # a model of a class of its own is no graph of layers, and stays as it is
        return model


def _can_be_fused(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and layer.compute_dtype == "float32"
    )


def _is_strided_projection(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and layer.strides != (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
    )


class _SubsampledConvolution(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A 1x1 convolution with strides, on its weights: first take the places that remain, then convolve without strides.

    oneDNN in TensorFlow 2.21 writes beyond its memory in the gradient of such a filter where that has fewer
    than 16 channels of input and more than one thread: trials die, or go on with wrong numbers.
    """

    def __init__(self, layer: keras.layers.Conv2D) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the layer's output, so that Keras need not trace a call to learn it."""
        return self.layer.compute_output_shape(shape)  # type: ignore[no-any-return]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        layer = self.layer
        # The pooling of single places is a slice with strides, forward and back in a quarter of its time.
        x = tf.nn.avg_pool2d(x, 1, layer.strides, "VALID")
        y = tf.nn.conv2d(x, layer.kernel, 1, "VALID")
        if layer.use_bias:
            y = tf.nn.bias_add(y, layer.bias)
        return y if layer.activation is None else layer.activation(y)


class _FusedNormalisation(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A batch normalisation of Keras over channels, on its weights, by TensorFlow's kernel (oneDNN's, cuDNN's)."""

    def __init__(self, layer: keras.layers.BatchNormalization) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input, so that Keras need not trace a call to learn it."""
        return shape

    def call(self, x: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        layer = self.layer
        if not training or not layer.trainable or mask is not None:
            return layer(x, training=training, mask=mask)
        nothing = tf.zeros((0,))  # the kernel would average by itself, of a variance that is not Keras's
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=layer.gamma.value,
            offset=layer.beta.value,
            mean=nothing,
            variance=nothing,
            epsilon=layer.epsilon,
            is_training=True,
        )
        n = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
        variance *= tf.maximum(n - 1.0, 1.0) / n  # the kernel divides by n - 1, Keras by n
        for average, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            average.value.assign_sub((average.value - now) * (1.0 - layer.momentum))
        return normalised


def _is_plain_adam(optimizer: keras.Optimizer, model: keras.Model) -> bool:
    """Whether an optimizer is an Adam that the kernel computes in full."""
    return (
        type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
        and not optimizer.amsgrad
        and not optimizer.use_ema
        and optimizer.loss_scale_factor is None
        and optimizer.gradient_accumulation_steps is None
        and optimizer.clipnorm is None
        and optimizer.clipvalue is None
        and all(variable.constraint is None for variable in model.trainable_variables)
    )


def _apply(
    optimizer: keras.Optimizer, gradients: Sequence[tf.Tensor | None], variables: Sequence[keras.Variable]
) -> None:
    optimizer.apply(gradients, variables)


def _apply_fused(
    optimizer: keras.Optimizer, gradients: Sequence[tf.Tensor | None], variables: Sequence[keras.Variable]
) -> None:
    """One kernel per weight, in place of Keras's dozen; the moments stay those of the Keras optimizer."""
    if any(gradient is None for gradient in gradients):
        return _apply(optimizer, gradients, variables)
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    rate = tf.convert_to_tensor(optimizer.learning_rate)
    gradients = optimizer._clip_gradients(gradients)
    if optimizer.weight_decay:
        optimizer._apply_weight_decay(variables)  # decoupled, before the step, as Keras does
    powers = tf.pow(optimizer.beta_1, step), tf.pow(optimizer.beta_2, step)
    for gradient, variable, momentum, velocity in zip(
        gradients, variables, optimizer._momentums, optimizer._velocities, strict=True
    ):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )
    optimizer.iterations.assign_add(1)
