# finetrial with what tunes and grades. Two targets: `cpu`, and `cuda` for an NVIDIA card.
#   docker build --target cpu -t finetrial:cpu .
#   docker run --rm -v "$PWD:/work" finetrial:cpu run tickets.yaml
# Linted by hadolint; where it was written nothing could be built, so that the first build is yours: tell us of it.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.11-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HOME=/cache HF_HOME=/cache/huggingface XDG_CACHE_HOME=/cache
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /dist /dist
# A user of its own: what it writes into /work is not root's. --user "$(id -u)" makes it yours.
RUN mkdir -p /work /cache && chmod 1777 /work /cache
VOLUME /cache
WORKDIR /work
EXPOSE 8757
ENTRYPOINT ["finetrial"]
CMD ["--help"]

# torch first, from its own index: with it in place nothing asks for the build that carries CUDA.
FROM base AS cpu
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' /tmp/constraints.txt)" \
 && pip install -c /tmp/constraints.txt "$(ls /dist/*.whl)[tune,grade,parquet]"
USER 1000

# The usual wheel of torch brings CUDA's libraries with it; triton compiles a stub in C when it first runs.
FROM base AS cuda
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN pip install "$(grep '^torch==' /tmp/constraints.txt)" \
 && pip install -c /tmp/constraints.txt "$(ls /dist/*.whl)[tune,grade,parquet,gpu]"
USER 1000
