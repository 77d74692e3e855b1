# The pure-Go image: one static binary, no shell, no user but nobody.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=container
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /api ./cmd/api && mkdir /data

FROM scratch
COPY --from=build /api /api
COPY LICENSE NOTICE THIRD_PARTY.md /licenses/
COPY --from=build --chown=65534:65534 /data /data
USER 65534:65534
ENV EDGEVIT_LISTEN=0.0.0.0:8080 EDGEVIT_DATA=/data EDGEVIT_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/api", "healthy"]
ENTRYPOINT ["/api"]
CMD ["serve"]
