# Two images. full, the default, has all three runtimes:
#
#   docker build -t edgevit .
#
# purego is one static binary and nothing else, for every architecture that Go has:
#
#   docker build -t edgevit:purego --target purego .

FROM golang:1.26-trixie AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN mkdir -p /data/models

FROM source AS static
ARG VERSION=container
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /static/api ./cmd/api

FROM source AS native
ARG VERSION=container
RUN make build VERSION="${VERSION}" && mv bin /native

# The native libraries by package, pinned and checked; a missing one ends the build.
FROM golang:1.26-trixie AS runtimes
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends maven npm && rm -rf /var/lib/apt/lists/*
WORKDIR /fetch/runtimes
COPY runtimes ./
RUN EDGEVIT_REQUIRE=all ./install.sh && mv "/fetch/.runtimes/$(go env GOOS)-$(go env GOARCH)" /libraries

FROM scratch AS purego
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE NOTICE THIRD_PARTY.md /licenses/
COPY --from=source --chown=65534:65534 /data /data
COPY --from=static /static/api /api
USER 65534:65534
ENV EDGEVIT_LISTEN=0.0.0.0:8080 EDGEVIT_DATA=/data EDGEVIT_LOG_FORMAT=json XDG_CACHE_HOME=/data/cache
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/api", "healthy"]
ENTRYPOINT ["/api"]
CMD ["serve"]

# The C and C++ libraries that the runtimes need, of the release that they were
# built beside, and no shell.
FROM gcr.io/distroless/cc-debian13:nonroot AS full
COPY LICENSE NOTICE THIRD_PARTY.md /licenses/
COPY --from=source --chown=65534:65534 /data /data
COPY --from=runtimes /libraries /runtimes
COPY --from=native /native/api /api
USER 65534:65534
ENV EDGEVIT_LISTEN=0.0.0.0:8080 EDGEVIT_DATA=/data EDGEVIT_LOG_FORMAT=json XDG_CACHE_HOME=/data/cache EDGEVIT_RUNTIMES=/runtimes
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/api", "healthy"]
ENTRYPOINT ["/api"]
CMD ["serve"]
