# drsearch itself, for studies and their workers, and for optuna-dashboard. With GPUs: --build-arg EXTRA=gpu
FROM python:3.11-slim-bookworm
ARG EXTRA=cpu

WORKDIR /srv/drsearch
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY drsearch drsearch
COPY search_spaces search_spaces
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRA},postgresql,dashboard]"

# Owned by the user before a volume is mounted on it: a new volume takes its owner from here.
RUN useradd --system --uid 10001 --create-home drsearch && chmod 700 /home/drsearch
ENV DRSEARCH_HOME=/home/drsearch
USER 10001
CMD ["drsearch", "--help"]
