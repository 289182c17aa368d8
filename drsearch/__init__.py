"""drsearch: from a folder of fundus photographs to a registered classifier of referable diabetic retinopathy."""

import os

__version__ = "0.1.0"

# TensorFlow reads this when it loads, and by itself says yes only to processors with AVX512-VNNI or the like: on one
# with AVX2 alone an epoch of the default network takes 2 to 3 times as long without. A value already set stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
