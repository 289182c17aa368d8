"""A registered model that answers: its files, over HTTP, in MLflow and in Python."""
