"""The functions and classes behind `import drsearch`: everything that the command line does, as Python calls.

`drsearch/__init__.py` has the public names. Each module here loads TensorFlow, Optuna and MLflow only inside the calls
that need them, so that a mistake in an argument is reported within a second.
"""
