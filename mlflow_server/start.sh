#!/bin/sh
# Start the tracking server. The image runs this, and so do the tests: everything is said by variables.
set -eu

: "${MLFLOW_BACKEND_STORE_URI:?the address of the database, for example postgresql://mlflow@postgres/mlflow}"
: "${PGPASSWORD:?the password of the database user mlflow; .env sets it as MLFLOW_DATABASE_PASSWORD}"
: "${MLFLOW_AUTH_ADMIN_PASSWORD:?the password of the first user, admin: 12 characters or more; .env sets it as MLFLOW_ADMIN_PASSWORD}"
: "${MLFLOW_FLASK_SERVER_SECRET_KEY:?a long random text that signs forms; .env sets it as MLFLOW_SECRET_KEY}"
: "${MLFLOW_ARTIFACTS_DESTINATION:?where artifacts go: a folder, or s3://bucket/folder}"
: "${MLFLOW_SERVER_ALLOWED_HOSTS:?the names that people call this server by, for example localhost:5000,mlflow:5000}"

if [ "${#MLFLOW_AUTH_ADMIN_PASSWORD}" -lt 12 ]; then
    echo "start.sh: MLFLOW_ADMIN_PASSWORD has ${#MLFLOW_AUTH_ADMIN_PASSWORD} characters; MLflow takes 12 or more." >&2
    exit 2
fi

here=$(cd "$(dirname "$0")" && pwd)
config=$(mktemp)
# Whoever signs in may read; creating takes a role (drsearch users), since that alone reaches what is not there yet.
cat >"$config" <<END
[mlflow]
default_permission = READ
grant_default_workspace_access = true
database_uri = $MLFLOW_BACKEND_STORE_URI
admin_username = admin
authorization_function = champion:authenticate
auth_cache_ttl_seconds = 300
END
export MLFLOW_AUTH_CONFIG_PATH="$config"
export PYTHONPATH="$here"
export MLFLOW_ENABLE_WORKSPACES=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # its seven processes take 1.4 GB and do nothing for drsearch
export MLFLOW_DISABLE_TELEMETRY=true

# One worker: uvicorn with two adds 45 ms to every request, and the cache of passwords is one process's.
exec mlflow server --app-name basic-auth --workers 1 \
    --host "${MLFLOW_HOST:-0.0.0.0}" --port "${MLFLOW_PORT:-5000}"
