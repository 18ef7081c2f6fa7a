#!/bin/sh
# Configure PgBouncer from the environment, and become it. What it needs of a disk is in /tmp.
set -eu
umask 077
folder=$(mktemp -d)
quoted=$(printf %s "$DATABASE_PASSWORD" | sed 's/"/""/g')
printf '"%s" "%s"\n' "${DATABASE_USER:-rivergen}" "$quoted" > "$folder/users"
limits='SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 20000'
cat > "$folder/pgbouncer.ini" <<END
[databases]
; A lock that the web waits for longer is answered with 503, and a web process that vanished with
; its machine leaves nothing locked. The web asks for both by itself, where nobody is between: a
; pooler shares its connections, and so what they were started with.
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
exec pgbouncer "$folder/pgbouncer.ini"
