# PgBouncer from Debian, the version that the tests use. To pin the base image:
# --build-arg DEBIAN_IMAGE=debian@sha256:…
ARG DEBIAN_IMAGE=debian:bookworm-slim
FROM ${DEBIAN_IMAGE}
# Not pinned: Debian's archive keeps only the newest, signed version with security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends pgbouncer \
 && rm -rf /var/lib/apt/lists/*
COPY --chmod=755 pgbouncer.sh /usr/local/bin/
USER 10001:10001
EXPOSE 6432
CMD ["/usr/local/bin/pgbouncer.sh"]
