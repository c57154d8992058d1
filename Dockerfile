# syntax=docker/dockerfile:1

FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules change less often than the code: a layer of their own.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/root/.cache/go-build make build VERSION="$VERSION"

FROM debian:12-slim
# For what the server asks of others over TLS; no other package is needed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN groupadd --system --gid 10001 plantdb \
 && useradd --system --uid 10001 --gid plantdb --home-dir /data --no-create-home --shell /usr/sbin/nologin plantdb \
 && install -d -o plantdb -g plantdb -m 0750 /data
COPY --from=build /src/bin/plantdb /usr/local/bin/plantdb

USER plantdb
WORKDIR /data
VOLUME /data
# The image holds no PostgreSQL: DATABASE_URL is to be given.
ENV ROMI_DB=/data \
    PLANTDB_HOST=0.0.0.0 \
    PLANTDB_PORT=5000
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["plantdb", "health", "--url", "http://127.0.0.1:5000"]
ENTRYPOINT ["plantdb"]
CMD ["serve"]
