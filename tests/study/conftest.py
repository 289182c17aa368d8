"""Fixtures of these tests: studies without training, and small models."""

from small_models import eyes, files, grader, home, photograph, records, settings  # noqa: F401
from studies import begin  # noqa: F401
