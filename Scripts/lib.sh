# What Scripts/serve, Scripts/test, Scripts/fuzz and the Dockerfile share. To be sourced; it sets `root`.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { echo "$(basename "$0"): $*"; }

# die WORDS…: says so, exit 1.
die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# is_installed PACKAGE: is that Debian package, or the one command it is wanted for, there?
is_installed() {
    case $1 in
        git | openssl | python3 | redis-server) command -v "$1" >/dev/null ;;
        # The server's programs are not in PATH.
        postgresql) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
        *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

# install_missing PACKAGE…: installs those that are not there. No network when all are.
install_missing() {
    local package missing=()
    for package; do is_installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    local install="apt-get install -y --no-install-recommends ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || die "missing: ${missing[*]}. Run: sudo apt-get update && sudo $install"
    say "installing Debian's ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; going on with the lists that are there"
    # Debian starts a service that it installs, on its usual port. The tests start their own, on
    # ports of their own; nobody asked for another.
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e "$policy" ]; then policy=; else
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    # Without quotes: words of a command that was put together here.
    # shellcheck disable=SC2086
    $install -qq </dev/null || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    [ "$status" -eq 0 ] || die "could not install ${missing[*]}"
}

# need_swift: Swift 6.3 or later is found, in PATH or where its archive is usually unpacked.
need_swift() {
    local folder version
    for folder in /opt/swift/usr/bin /usr/share/swift/usr/bin "$HOME/.local/share/swiftly/bin"; do
        ! command -v swift >/dev/null && [ -x "$folder/swift" ] && PATH=$folder:$PATH
    done
    command -v swift >/dev/null || die "no swift: install Swift 6.3 from https://swift.org/install"
    version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p')
    [ "$(printf '6.3\n%s\n' "$version" | sort -V | head -n 1)" = 6.3 ] ||
        die "Swift 6.3 or later is needed; $(command -v swift) is ${version:-of no known version}"
}

# What the build needs besides Swift: git for SwiftPM, the C libraries that are linked.
build_packages=(git libhiredis-dev libpq-dev libsqlite3-dev libssl-dev)
# What a binary with Swift's own libraries inside (--static-swift-stdlib) runs on: those libraries, C++'s
# for Swift's Foundation, and the authorities that TLS to Redis and Postgres trusts. The Dockerfile
# installs them; Scripts/test compares them with what the binary is linked to.
run_packages=(
    ca-certificates libgcc-s1 libhiredis0.14 libpq5 libsqlite3-0 libssl3 libstdc++6
)
