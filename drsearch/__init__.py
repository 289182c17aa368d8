"""drsearch: from a folder of fundus photographs to a registered classifier of referable diabetic retinopathy."""

__version__ = "0.1.0"
