"""The command line: it parses, delegates, prints, and decides nothing.

Nothing heavy is imported above the commands: `drsearch --help` needs neither TensorFlow nor MLflow.
"""

# In the order in which --help lists their commands.
from drsearch.cli import data, doctor, search, studies, models, serving, champions, tracking, users  # noqa: F401, I001
from drsearch.cli.app import app, main

__all__ = ["app", "main"]
