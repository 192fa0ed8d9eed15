# orderd in a container: the program, the certificates of the usual authorities, and nothing else.
#
#   docker build -t orderd .
#   docker run --read-only --cap-drop ALL --stop-timeout 40 -v orders:/var/lib/orderd -e ORDERD__REDIS__URL=redis://redis:6379 orderd

ARG RUST_VERSION=1.95.0
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /build
# One file that needs no other: what is left of glibc in it resolves names by /etc/hosts and DNS alone.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# The dependencies are a layer of their own, which is made anew only when they change. Tests and benches stay outside.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && mkdir src && : >src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" \
    && rm -r src

COPY src src
# Newer than what was built above, whatever the clock said when they were written.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" \
    && mv "target/$(rustc --print host-tuple)/release/orderd" /orderd \
    && mkdir /state

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="orderd" \
      org.opencontainers.image.description="A worker daemon for order events on Redis Streams" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE-MIT LICENSE-APACHE /licenses/
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /orderd /orderd
# The ledger is the one thing that is written: a volume, so that the root can be read-only.
COPY --from=build --chown=65532:65532 /state /var/lib/orderd
WORKDIR /var/lib/orderd
VOLUME /var/lib/orderd
# By number: there is no /etc/passwd to look a name up in.
USER 65532:65532
EXPOSE 9464
STOPSIGNAL SIGTERM
# It asks the running daemon; no shell and no curl are needed for that.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/orderd", "health"]
ENTRYPOINT ["/orderd"]
CMD ["run"]
