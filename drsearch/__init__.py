"""drsearch: from a folder of fundus photographs to a registered classifier of referable diabetic retinopathy."""

from drsearch.startup import drop_start_up_lines

__version__ = "0.1.0"

drop_start_up_lines()
