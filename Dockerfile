# The workbench in a container: built with its page, run as nobody in particular.
#
#     docker build -t microtome .
#     docker run --rm -p 127.0.0.1:8642:8642 -e MICROTOME_TOKEN=$(openssl rand -hex 16) microtome

FROM rust:1.95-bookworm AS build
COPY --from=node:22-bookworm-slim /usr/local/ /usr/local/
WORKDIR /src
COPY . .
RUN cargo build --release --locked && strip target/release/microtome

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --home-dir /var/lib/microtome --uid 10001 microtome
COPY --from=build /src/target/release/microtome /usr/local/bin/microtome
USER microtome
# Models named by a Hugging Face id are kept here; give it a volume.
ENV HF_HOME=/var/lib/microtome/models
RUN mkdir -p /var/lib/microtome/models
VOLUME /var/lib/microtome/models
EXPOSE 8642
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD curl -fsS http://127.0.0.1:8642/health || exit 1
# Others than this container can reach it, so MICROTOME_TOKEN must be set; without it the program says so and ends.
ENTRYPOINT ["microtome"]
CMD ["serve", "--host", "0.0.0.0", "--no-open", "--log-json"]
