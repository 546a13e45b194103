# syntax=docker/dockerfile:1
# The server alone: no shell, no package manager, not root, and nothing in it is written to but the volume of the journal.
#
#   docker build -t countersign .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v ./countersign.toml:/etc/countersign/countersign.toml:ro \
#       -v ./policies:/policies:ro -v countersign:/var/lib/countersign -p 7443:7443 countersign
#
# In that file: grpc.listen = "0.0.0.0:7443" with grpc.tls, policy.dir = "/policies", journal.dir = "/var/lib/countersign/journal".

FROM rust:1.93-slim-bookworm AS build
# The C compiler of aws-lc and mimalloc comes with the image's linker; cmake is what aws-lc falls back on where it has no build of its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
# The list of everything that it was made of is in the binary itself: `cargo audit bin countersign`, and scanners, read it there.
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo auditable build --locked --release --bin countersign \
    && install -D --strip target/release/countersign /out/usr/local/bin/countersign \
    # The journal's directory belongs to the user below; a volume that is new takes that over.
    && install -d --owner=65532 --group=65532 --mode=0700 /out/var/lib/countersign

# glibc and the CAs of the web, which issuers' certificates are from. Runs as 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out /
# `countersign.toml` is looked for where it runs.
WORKDIR /etc/countersign
USER 65532:65532
VOLUME ["/var/lib/countersign"]
EXPOSE 7443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/countersign", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/countersign"]
CMD ["serve"]
