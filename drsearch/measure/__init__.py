"""How good is a model, and what does it look at? Arrays in; numbers with their doubt, or pictures, out.

Import `GradCam` and `overlay` from `drsearch.measure.gradcam`, pictures from `drsearch.measure.figures`: they bring
TensorFlow and matplotlib, and whoever wants a score pays for neither.
"""

from drsearch.measure.curves import RocCurve, roc_curve
from drsearch.measure.scores import Interval, Scores, accuracy, auc, confusion_matrix, scores

__all__ = ["Interval", "RocCurve", "Scores", "accuracy", "auc", "confusion_matrix", "roc_curve", "scores"]
