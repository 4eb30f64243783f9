# One image for every process of the project: `bridge serve`, `streams worker`, `bridge topics apply`, ...
# Nothing in it is newer than the pinned requirements and the sources; all of them are checked against their hashes.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_REQUIRE_VIRTUALENV=1
RUN python -m venv /opt/openbsp
ENV PATH=/opt/openbsp/bin:$PATH
WORKDIR /src
COPY requirements.txt requirements-dev.txt ./
# Compiled here, for at run time the file system may be read-only; by content, so that dates do not matter.
RUN pip install --no-compile --require-hashes --requirement requirements.txt \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/openbsp/lib
# The build backend is pinned among what developers need.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.txt >backend.txt \
    && pip install --no-compile --require-hashes --requirement backend.txt
COPY pyproject.toml README.md LICENSE ./
COPY avro avro
COPY openbsp openbsp
COPY bridge bridge
COPY streams streams
RUN pip install --no-compile --no-deps --no-index --no-build-isolation . \
    && pip uninstall --yes --quiet setuptools pip \
    && cd /opt/openbsp/lib/python3.11/site-packages \
    && python -m compileall -q --invalidation-mode unchecked-hash avro openbsp bridge streams


FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin openbsp \
    && install -d -o openbsp -g openbsp /var/lib/openbsp/spool /var/lib/openbsp/streams /var/lib/openbsp/reconcile
COPY --from=build /opt/openbsp /opt/openbsp
COPY deploy/healthcheck.py /usr/local/lib/openbsp/healthcheck.py
ENV PATH=/opt/openbsp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    BRIDGE_HOST=0.0.0.0 BRIDGE_SPOOL_DIR=/var/lib/openbsp/spool \
    STREAMS_HOST=0.0.0.0 STREAMS_DATA_DIR=/var/lib/openbsp/streams \
    RECONCILE_METRICS_HOST=0.0.0.0 RECONCILE_DIR=/var/lib/openbsp/reconcile
# With a read-only root file system these need volumes: the spool and the stores, each process its own, and /tmp.
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080 8090
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-S", "/usr/local/lib/openbsp/healthcheck.py"]
CMD ["bridge", "--help"]
