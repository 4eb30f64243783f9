#!/usr/bin/env bash
# Sees to it that containers can be run here: a Docker engine, Compose, the images. What is there is used; safe to repeat.
#
#   engine.sh start   installs (as root, on Debian) and starts what is missing; at the end everything is there or it fails
#   engine.sh stop    ends the engine that `start` started
#
# The first time on a machine it takes some minutes: what is expensive is kept in the project's cache directory.
set -euo pipefail
cd "$(dirname "$0")/../../.."

readonly cache=${OPENBSP_BRIDGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openbsp-bridge}
readonly pid_file=$cache/dockerd.pid log=$cache/dockerd.log

say() { printf 'engine: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }
answers() { docker info >/dev/null 2>&1; }

install_packages() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    [[ $(id -u) == 0 ]] || die "no Docker engine answers, and only root can install one (${missing[*]})"
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1 \
        || { tail -n 20 "$cache/apt.log"; die "cannot install ${missing[*]}"; }
}

start_engine() {
    answers && return
    install_packages
    say "starting dockerd, which logs to $log"
    setsid dockerd >"$log" 2>&1 </dev/null &
    echo $! >"$pid_file"
    local deadline=$((SECONDS + 60))
    until answers; do
        kill -0 "$(cat "$pid_file")" 2>/dev/null || { tail -n 20 "$log"; die "dockerd ended"; }
        ((SECONDS < deadline)) || { tail -n 20 "$log"; die "dockerd does not answer"; }
        sleep 0.2
    done
}

stop_engine() {
    [[ -e $pid_file ]] || return 0
    local pid deadline=$((SECONDS + 30))
    pid=$(cat "$pid_file")
    rm "$pid_file"
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] || return 0
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS < deadline)) || die "dockerd does not end"
        sleep 0.2
    done
}

install_compose() {
    docker compose version >/dev/null 2>&1 && return
    local version binary
    version=$(sed -n 's|^\tgithub.com/docker/compose/v2 v\([0-9.]*\).*|\1|p' tests/support/docker/compose/go.mod)
    binary=$cache/docker-compose-$version
    if [[ ! -x $binary ]]; then
        command -v go >/dev/null || die "docker compose is missing, and there is no Go to build it with"
        say "building docker compose $version, which takes some minutes"
        CGO_ENABLED=0 go build -C tests/support/docker/compose -trimpath \
            -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=v$version" \
            -o "$binary.new" github.com/docker/compose/v2/cmd
        mv "$binary.new" "$binary"
    fi
    mkdir -p "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
    ln -sf "$binary" "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-compose"
    docker compose version >/dev/null || die "docker compose cannot be run"
}

case ${1-} in
    start)
        mkdir -p "$cache"
        start_engine
        say "Docker $(docker version --format '{{.Server.Version}}')"
        install_compose
        say "Compose $(docker compose version --short)"
        command -v debootstrap >/dev/null || [[ $(id -u) != 0 ]] || install_packages
        .venv/bin/python tests/support/images/build.py
        say "building the project's image"
        .venv/bin/python tests/support/docker/image.py
        ;;
    stop) stop_engine ;;
    *) die "usage: $0 start | stop" ;;
esac
