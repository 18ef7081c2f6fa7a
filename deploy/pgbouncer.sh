#!/bin/sh
# Write PgBouncer's configuration, from the environment, to /tmp, and start PgBouncer.
set -eu
if [ -n "${DATABASE_PASSWORD_FILE:-}" ]; then DATABASE_PASSWORD=$(cat "$DATABASE_PASSWORD_FILE"); fi
umask 077
folder=$(mktemp -d)
quoted=$(printf %s "$DATABASE_PASSWORD" | sed 's/"/""/g')
printf '"%s" "%s"\n' "${DATABASE_USER:-rivergen}" "$quoted" > "$folder/users"
limits='SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 20000'
cat > "$folder/pgbouncer.ini" <<END
[databases]
; The limits of rivergen/wsgi.py. Without a pooler, the web sets them when it connects. A pooler
; shares its connections among clients, so it must set the limits itself.
* = host=${DATABASE_HOST:-db} port=${DATABASE_PORT:-5432} connect_query='$limits'

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
tcp_user_timeout = 5000
tcp_keepidle = 5
tcp_keepintvl = 1
tcp_keepcnt = 5
END
unset DATABASE_PASSWORD
exec pgbouncer "$folder/pgbouncer.ini"
