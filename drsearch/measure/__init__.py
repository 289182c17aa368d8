"""How good a model is, and what it looks at: arrays in; numbers with their intervals, or pictures, out.

`gradcam` loads TensorFlow and `figures` matplotlib; the other files load neither.
"""
