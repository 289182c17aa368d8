#!/bin/bash
# Workers for a study, one a task of a job array; on a node they share its disk, so that records are fetched once.
#
#   export STUDY=resnet DRSEARCH_STORAGE=postgresql://user@db/optuna MLFLOW_TRACKING_URI=http://mlflow:5000
#   sbatch docs/recipes/slurm.sh
#
# More tasks may be added at any time. One whose time is up leaves at a checkpoint, and another goes on from there.
# SIGUSR1 does the same as SIGTERM, for sites that send it (--signal=B:USR1@180).
#SBATCH --job-name=drsearch
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=2G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --output=drsearch-%A_%a.log
# With GPUs, one a task: #SBATCH --gpus-per-task=1
set -euo pipefail

: "${STUDY:?name the study to join}"
: "${DRSEARCH_STORAGE:?the address of the study database}"
: "${MLFLOW_TRACKING_URI:?the address of the MLflow server}"

# On the node's own disk: it holds photographs of patients, as records, for as long as the site keeps it.
export DRSEARCH_HOME="${DRSEARCH_HOME:-${SLURM_TMPDIR:-/tmp}/drsearch-$(id -un)}"

exec drsearch worker --study "$STUDY"
