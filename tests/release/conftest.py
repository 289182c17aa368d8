"""Fixtures of these tests: small sets of synthetic eyes, and a model that was never trained."""

from small_models import eyes, files, grader, home, photograph, records, settings  # noqa: F401
