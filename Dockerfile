# Builds hcnd and hcnctl into a small image:
#   docker build -t hcnd .
# It works on the host's network, so it runs there, with the host's namespaces folder and a place for its state:
#   docker run -d --privileged --network host --pid host -v /run/netns:/run/netns:rshared -v /etc/netns:/etc/netns \
#     -v /run/hcnd:/run/hcnd -v /var/lib/hcnd:/var/lib/hcnd hcnd
# To try it without touching the host:
#   docker run --rm -it --privileged hcnd hcnd sandbox bash
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p hcnd -p hcnctl -p hcn-cni

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 nftables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/hcnd /src/target/release/hcnctl /usr/bin/
COPY --from=build /src/target/release/hcn-cni /opt/cni/bin/
CMD ["hcnd"]
