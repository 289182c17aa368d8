#!/bin/sh
# Make two databases, each with a user of its own who alone may connect. PostgreSQL's image runs this once, on new data.
set -eu

: "${MLFLOW_DATABASE_PASSWORD:?the password that the database user mlflow gets}"
: "${OPTUNA_DATABASE_PASSWORD:?the password that the database user optuna gets}"

# psql reads the passwords itself: a command line can be read by everyone on the machine.
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'END'
\set mlflow_password `printenv MLFLOW_DATABASE_PASSWORD`
\set optuna_password `printenv OPTUNA_DATABASE_PASSWORD`
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE optuna LOGIN PASSWORD :'optuna_password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE optuna OWNER optuna;
REVOKE CONNECT, TEMPORARY ON DATABASE mlflow, optuna, postgres FROM PUBLIC;
END
