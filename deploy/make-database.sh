#!/bin/sh
# Create the database and a role that owns only this database. The PostgreSQL image runs this once,
# after it has created a new cluster.
set -eu
if [ -n "${DATABASE_PASSWORD_FILE:-}" ]; then DATABASE_PASSWORD=$(cat "$DATABASE_PASSWORD_FILE"); fi
export DATABASE_PASSWORD
psql --set ON_ERROR_STOP=1 --dbname postgres <<'END'
-- Not an argument of psql: every user of the machine can read these.
\getenv password DATABASE_PASSWORD
CREATE ROLE rivergen LOGIN PASSWORD :'password';
CREATE DATABASE rivergen OWNER rivergen TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
END
