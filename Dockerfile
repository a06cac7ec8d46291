# Martlet as an image: built with Debian 12's Swift, run on Debian 12 with the few C libraries that it
# is linked to. Both lists of packages are in Scripts/lib.sh, where scripts and tests read them too.
#
#   docker build -t martlet .
#   docker run --stop-timeout 30 -p 3001:3001 -v martlet:/data -e MARTLET_JWT_SECRET=… martlet
#
# Secrets come at run time, by the environment or a mounted file (MARTLET_CONFIG): none is built in.

FROM swift:6.3-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /martlet
# Before the sources, which change more often than the packages do.
# hadolint ignore=SC2154
RUN --mount=type=bind,source=Scripts/lib.sh,target=/martlet/Scripts/lib.sh \
    . Scripts/lib.sh && install_missing "${build_packages[@]}" && rm -rf /var/lib/apt/lists/*
COPY Package.swift ./
COPY Sources Sources
# SwiftPM reads the whole package, its tests too, though it builds the one product.
COPY Tests Tests
# With Swift's own libraries inside, so that the image below needs none of them. As in every release,
# the symbols stay: a crash without names helps nobody.
RUN swift build -c release --product martlet --static-swift-stdlib && \
    cp "$(swift build -c release --show-bin-path)/martlet" /usr/local/bin/martlet

FROM debian:bookworm-slim
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=SC2154
RUN --mount=type=bind,source=Scripts/lib.sh,target=/Scripts/lib.sh \
    . /Scripts/lib.sh && install_missing "${run_packages[@]}" && rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin martlet && \
    install -d -o martlet -g martlet -m 0700 /data
COPY --from=build /usr/local/bin/martlet /usr/local/bin/martlet
# Any other than root will do; a number, so that Kubernetes can see that it is not root.
USER 10001
WORKDIR /data
# The embedded store. Empty and not needed with MARTLET_DATABASE_URL.
ENV MARTLET_DATA=/data
VOLUME /data
EXPOSE 3001
# Whether the event loops turn, not whether the store works: a container that is restarted because
# Postgres is away would only lose its clients. Readiness is /health, for the balancer. There is no curl
# in the image; bash can speak TCP.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${MARTLET_PORT:-${PORT:-3001}}\" && printf 'GET /health/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
# SIGTERM drains, within some 15 s: give it more than Docker's 10 (--stop-timeout 30).
ENTRYPOINT ["martlet"]
CMD ["serve"]
