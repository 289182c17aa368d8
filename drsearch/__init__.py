"""drsearch: from a folder of fundus photographs to a registered classifier of referable diabetic retinopathy."""

from drsearch.startup import hook_imports

__version__ = "0.1.0"

hook_imports()
