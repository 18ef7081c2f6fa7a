#!/bin/sh
# Configure PgBouncer from the environment, and become it. What it needs of a disk is in /tmp.
set -eu
umask 077
folder=$(mktemp -d)
quoted=$(printf %s "$DATABASE_PASSWORD" | sed 's/"/""/g')
printf '"%s" "%s"\n' "${DATABASE_USER:-rivergen}" "$quoted" > "$folder/users"
cat > "$folder/pgbouncer.ini" <<END
[databases]
; A lock that the web waits for longer is answered with 503. It asks for the same by itself, where
; nobody is between: a pooler shares its connections, and so what they were started with.
* = host=${DATABASE_HOST:-db} port=${DATABASE_PORT:-5432} connect_query='SET lock_timeout = 2000'

[pgbouncer]
listen_addr = ${LISTEN_ADDRESS:-0.0.0.0}
listen_port = ${LISTEN_PORT:-6432}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $folder/users
ignore_startup_parameters = options
pool_mode = transaction
default_pool_size = ${POOL_SIZE:-16}
max_client_conn = 1000
query_wait_timeout = 5
server_login_retry = 1
END
exec pgbouncer "$folder/pgbouncer.ini"
