# One image for app, mcp, worker, web and static-init. Builds with and without BuildKit:
#
#   docker build -t mnemosyne .
#
# The base images are arguments, for registries of one's own. With --build-arg MODEL=all-MiniLM-L6-v2 the local embedding model is
# fetched into the image (HF_ENDPOINT, given the same way, names a mirror of its hub).
ARG BUILDER_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# What the dependencies depend on: the manifests, the lock file and targets that hold nothing. It is compared by content, so that the
# layer of the dependencies below is built anew only when one of these changes.
FROM ${BASE_IMAGE} AS manifests
WORKDIR /build
COPY . .
RUN find . -path ./vendor -prune -o -type f ! -name Cargo.toml ! -name Cargo.lock \
      ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path './benches/*.rs' ! -path '*/tests/*.rs' ! -path './tests/e2e/main.rs' -print0 \
      | xargs -0 rm \
 && find . -path ./vendor -prune -o -path '*/tests/*/*' ! -name main.rs -type f -print0 | xargs -0r rm \
 && find . -path ./vendor -prune -o -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' sh {} + \
 && find . -type d -empty -delete \
 && find . -exec touch -d @0 {} +

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
COPY --from=manifests /build .
RUN cargo build --release --locked -p mnemosyne
COPY . .
# Newer than what was built from nothing.
RUN find crates -name '*.rs' -exec touch {} + && cargo build --release --locked -p mnemosyne

FROM ${BASE_IMAGE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl nginx-light \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/* /etc/nginx/sites-enabled \
 && useradd --system --uid 10001 --home-dir /var/lib/mnemosyne --create-home mnemosyne \
 && install -d -o mnemosyne -g mnemosyne /srv/mnemosyne /srv/mnemosyne/static
COPY --from=builder /build/target/release/mnemosyne /usr/local/bin/mnemosyne
# The words of the worker's probe: celery -A mnemosyne inspect ping -d celery@HOST
RUN printf '#!/bin/sh\nexec mnemosyne celery "$@"\n' > /usr/local/bin/celery && chmod 755 /usr/local/bin/celery
COPY nginx/mnemosyne.conf /etc/nginx/mnemosyne.conf

ENV MNEMOSYNE_DATA=/var/lib/mnemosyne \
    MNEMOSYNE_APP_LISTEN=0.0.0.0:8000 \
    MNEMOSYNE_MCP_LISTEN=0.0.0.0:8001
ARG MODEL=
ARG HF_ENDPOINT=
RUN if [ -n "$MODEL" ]; then MNEMOSYNE_DATA=/usr/share/mnemosyne mnemosyne models pull "$MODEL" \
 && chmod -R a+rX /usr/share/mnemosyne; fi
USER mnemosyne
WORKDIR /var/lib/mnemosyne
EXPOSE 80 8000 8001
STOPSIGNAL SIGTERM
ENTRYPOINT ["mnemosyne"]
CMD ["serve"]
