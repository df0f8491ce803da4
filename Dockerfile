# Winnow on a CPU: what serving and indexing need, no torch; see docs/operations.md.
#
#   docker build -t winnow .
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -e WINNOW_STORE=redis://host:6379/0 winnow

FROM python:3.11-slim-bookworm AS build

# The head and the row path are C, compiled when Winnow is installed; the compiler stays here.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY constraints.txt hatch_build.py pyproject.toml LICENSE README.md ./
COPY bench bench
COPY cli cli
COPY distill distill
COPY doctor doctor
COPY evaluation evaluation
COPY export export
COPY importing importing
COPY indexing indexing
COPY loadtest loadtest
COPY model_store model_store
COPY native native
COPY playground playground
COPY service service
COPY vector_store vector_store

# [tracing] for traces, [grpc] for the Open Inference Protocol over gRPC, [grpc,tracing] for both.
ARG EXTRAS=
# Without its own pip: nothing is installed into what is served.
RUN python -m venv --without-pip /opt/winnow
RUN --mount=type=cache,target=/root/.cache/pip pip --python /opt/winnow/bin/python install -c constraints.txt ".${EXTRAS}"
# Without a compiler the install only warns: here it fails.
RUN /opt/winnow/bin/python -I -c "import sys; from native import compile, library; sys.exit(not all(library.load(source) for source in compile.SOURCES))"


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="Winnow" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/winnow /opt/winnow

# The students that this image serves: publish your own there, or mount a folder over /bundles.
ARG BUNDLES=model_store/bundles
COPY ${BUNDLES} /bundles

# HOME and the files of the metrics and the workers lie in /tmp, the only place that has to be writable.
ENV PATH=/opt/winnow/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WINNOW_BUNDLES=/bundles \
    WINNOW_HOST=0.0.0.0 \
    WINNOW_PORT=8000

WORKDIR /tmp
USER 10001:10001
EXPOSE 8000

# Live, not ready: a store that is down is no reason to restart this container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['WINNOW_PORT'] + '/healthz', timeout=2)"]

ENTRYPOINT ["winnow"]
CMD ["serve"]
