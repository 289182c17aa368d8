"""How many operations is a step of training, plain and fused? A count that no busy machine changes.

python -m benchmarks.operations
"""

import json

import numpy as np
import tensorflow as tf

from drsearch.model.fit import build_optimizer
from drsearch.model.fused_step import compiled_fit
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings


def operations(fused: bool) -> int:
    """Nodes in the graph of one step, before TensorFlow optimises it."""
    settings = Settings()
    model = build_resnet(settings.model, 64)
    optimizer = build_optimizer(settings.training)
    optimizer.build(model.trainable_variables)
    batches = tf.data.Dataset.from_tensors((np.zeros((4, 64, 64, 3), np.uint8), np.zeros(4, np.int64))).repeat()
    fit = compiled_fit(model, optimizer, fused).get_concrete_function(iter(batches), tf.constant(1))
    return max(len(function.node_def) for function in fit.graph.as_graph_def().library.function)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "operations in the graph of a step": operations(fused=True),
                "the same with Keras's own operations": operations(fused=False),
            }
        )
    )
