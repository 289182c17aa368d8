"""What runs log, on its way from a worker to MLflow.

    worker -> events -> journal (a file in the run's folder) -> sender (one process per machine) -> tracker

A worker needs `events` and `journal` only; MLflow is imported by the sender alone.
"""
