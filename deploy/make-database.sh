#!/bin/sh
# Run once by the PostgreSQL image, when it has made a new cluster: a database, and a role that owns
# it and nothing else.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" --dbname postgres <<'END'
CREATE ROLE rivergen LOGIN PASSWORD :'password';
CREATE DATABASE rivergen OWNER rivergen TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
END
