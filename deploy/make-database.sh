#!/bin/sh
# Create the database and a role that owns only this database. The PostgreSQL image runs this once,
# after it has created a new cluster.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" --dbname postgres <<'END'
CREATE ROLE rivergen LOGIN PASSWORD :'password';
CREATE DATABASE rivergen OWNER rivergen TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
END
