# PgBouncer from Debian, the version that the tests use.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends pgbouncer \
 && rm -rf /var/lib/apt/lists/*
COPY --chmod=755 pgbouncer.sh /usr/local/bin/
USER 10001:10001
EXPOSE 6432
CMD ["/usr/local/bin/pgbouncer.sh"]
