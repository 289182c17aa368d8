"""What tests of all rooms share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
