#!/bin/sh
# Installs transcribed as a system service, or takes it away again: install.sh install|uninstall.
# `make install` and `make uninstall` call it with the variables below; it may be run again at any time.
#
# Every install is a folder of its own with its own Python packages, below PREFIX/versions. A symbolic link names the one
# in use, so an install that breaks off changes nothing, and a service that runs keeps its files until it is restarted.
set -eu
umask 022

DESTDIR=${DESTDIR:-}                 # for packagers: everything lands below it, and this machine is left alone
PREFIX=${PREFIX:-/opt/transcribed}
LIBDIR=${LIBDIR:-/usr/local/lib}     # packagers: /usr/lib
BINDIR=${BINDIR:-/usr/local/bin}     # packagers: /usr/bin
SYSCONFDIR=${SYSCONFDIR:-/etc}
PYTHON=${PYTHON:-python3}
GPU=${GPU:-}                         # yes, no; empty: as it is, and yes where the NVIDIA driver is loaded
NETWORK=${NETWORK:-}                 # yes, no; empty: as it is

UNITS=$LIBDIR/systemd/system
DROPINS=$UNITS/transcribed.service.d
CONFIG=$SYSCONFDIR/transcribed/transcribed.toml
INBOX=/srv/inbox
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*"; }
fail() { printf 'transcribed: %s\n' "$*" >&2; exit 1; }

here() { [ -z "$DESTDIR" ]; }                              # not for a package
booted() { here && [ -d /run/systemd/system ]; }

install_all() {
    check
    decide_drop_ins
    install_packages
    install_files
    here && set_up_machine
    say_what_next
}

check() {
    here && [ "$(id -u)" != 0 ] && fail "installing needs root: sudo make install (or DESTDIR=folder, for a package)"
    here && ! command -v systemd-sysusers >/dev/null && fail "no systemd here; the service needs version 250 or later"
    [ -e "$DESTDIR$PREFIX/pyvenv.cfg" ] && fail "$PREFIX is a Python environment of an earlier way to install; move it away first"
    base=$("$PYTHON" -c 'import sys, venv, ensurepip
print(sys.base_prefix if (3, 11) <= sys.version_info[:2] <= (3, 14) else "")' 2>/dev/null) || base=
    [ -n "$base" ] || fail "this needs Python 3.11 to 3.14 with venv; name one: make install PYTHON=/usr/bin/python3"
    case $base in
        /home/*|/root|/root/*|/tmp/*) fail "the service cannot see $base (ProtectHome=); take the system's: make install PYTHON=/usr/bin/python3" ;;
    esac
}

decide_drop_ins() {
    if [ -z "$GPU" ]; then
        GPU=no
        { [ -e "$DESTDIR$DROPINS/transcribed-gpu.conf" ] || { here && [ -e /proc/driver/nvidia/version ]; }; } && GPU=yes
    fi
    if [ -z "$NETWORK" ]; then
        NETWORK=no
        [ -e "$DESTDIR$DROPINS/transcribed-network.conf" ] && NETWORK=yes
    fi
    return 0
}

# The packages.

install_packages() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    set -- requirements.lock
    [ "$GPU" = yes ] && set -- "$@" requirements-cuda.lock
    build_wheel
    name=$(basename "$wheel" | cut -d - -f 2)-$({ cat "$wheel" "$@"; "$PYTHON" -VV; } | sha256sum | cut -c 1-8)
    target=$DESTDIR$PREFIX/versions/$name
    [ -e "$target/complete" ] || fill "$@"
    before=$(readlink "$DESTDIR$PREFIX/current" || true)
    ln -sfn "versions/$name" "$DESTDIR$PREFIX/current.new"
    mv -fT "$DESTDIR$PREFIX/current.new" "$DESTDIR$PREFIX/current"
    # Only the command: a Python that is called through another folder does not find its packages.
    install -d "$DESTDIR$PREFIX/bin"
    ln -sfn ../current/bin/transcribed "$DESTDIR$PREFIX/bin/transcribed"
    ln -sfn current/lib "$DESTDIR$PREFIX/lib"
    remove_others "$name" "$(basename "${before:-$name}")"
}

build_wheel() { # our own package; its build tool is in none of the environments that stay
    "$PYTHON" -m venv "$scratch/build"
    pip "$scratch/build" --require-hashes --requirement requirements-build.lock
    "$scratch/build/bin/python" -m hatchling build -t wheel -d "$scratch/wheel" >"$scratch/log" 2>&1 ||
        fail "the package cannot be built: $(tail -n 3 "$scratch/log")"
    wheel=$(echo "$scratch"/wheel/*.whl)
}

fill() { # LOCK...: makes the environment in $target
    say "Installing transcribed $name into $PREFIX: about 1 GB, a few minutes ..."
    rm -rf "$target"
    "$PYTHON" -m venv "$target"
    for lock; do pip "$target" --require-hashes --requirement "$lock"; done
    pip "$target" --no-deps --no-index "$wheel"
    here || forget_destdir "$target"
    # Compiled here and now, since the service cannot write there. Some packages have files for other Pythons.
    "$target/bin/python" -m compileall -q -j 0 -s "$DESTDIR" "$target/lib" >/dev/null 2>&1 || true
    touch "$target/complete"
}

pip() { # FOLDER ARGUMENTS...: install into that environment
    place=$1; shift
    # Quiet twice: errors only.
    PIP_ROOT_USER_ACTION=ignore "$place/bin/python" -m pip --quiet --quiet --disable-pip-version-check --no-input \
        install --no-compile --use-pep517 "$@"
}

forget_destdir() { # FOLDER: scripts and settings name the place where they will be
    grep -lsIr --exclude-dir=lib "$DESTDIR" "$1/bin" "$1/pyvenv.cfg" | while read -r file; do
        sed -i "s|$DESTDIR||g" "$file"
    done
}

remove_others() { # NAME BEFORE: the newest, the one before it and what a process still uses stay
    for folder in "$DESTDIR$PREFIX"/versions/*; do
        case $(basename "$folder") in
            "$1"|"$2") ;;
            *) grep -qs "$folder/" /proc/[0-9]*/cmdline || rm -rf "$folder" ;;
        esac
    done
}

# The files.

install_files() {
    put transcribed.service "$UNITS/transcribed.service"
    put transcribed.socket "$UNITS/transcribed.socket"
    put sysusers.d/transcribed.conf "$LIBDIR/sysusers.d/transcribed.conf"
    put tmpfiles.d/transcribed.conf "$LIBDIR/tmpfiles.d/transcribed.conf"
    put_if "$GPU" transcribed-gpu.conf "$DROPINS/transcribed-gpu.conf"
    put_if "$GPU" modules-load.d/transcribed-gpu.conf "$LIBDIR/modules-load.d/transcribed-gpu.conf"
    put_if "$NETWORK" transcribed-network.conf "$DROPINS/transcribed-network.conf"
    put transcribed.toml "$PREFIX/current/transcribed.toml.example"
    install -d "$DESTDIR$BINDIR"
    ln -sfn "$PREFIX/bin/transcribed" "$DESTDIR$BINDIR/transcribed"
}

put() { # FILE PLACE
    install -d "$DESTDIR$(dirname "$2")"
    sed "s|/opt/transcribed|$PREFIX|g" "systemd/$1" >"$scratch/file"
    cmp -s "$scratch/file" "$DESTDIR$2" && return
    install -m 644 "$scratch/file" "$DESTDIR$2.new"
    mv -f "$DESTDIR$2.new" "$DESTDIR$2"
}

put_if() { # yes|no FILE PLACE
    if [ "$1" = yes ]; then put "$2" "$3"; else rm -f "$DESTDIR$3"; fi
}

# The machine: only where this is no package; a package does the same when it is installed.

set_up_machine() {
    systemd-sysusers "$LIBDIR/sysusers.d/transcribed.conf"
    systemd-tmpfiles --create "$LIBDIR/tmpfiles.d/transcribed.conf"
    if [ ! -e "$CONFIG" ]; then
        # Not for everybody: an address for alerts may have a password in it.
        install -m 0640 -g transcribed systemd/transcribed.toml "$CONFIG"
        # The setgid bit: what anybody puts there belongs to the group of the folder.
        [ -e "$INBOX" ] || install -d -m 2770 -o transcribed -g transcribed "$INBOX"
    fi
    if booted; then systemctl daemon-reload; fi
}

say_what_next() {
    here || { say "Installed below $DESTDIR"; return 0; }
    say "Installed transcribed $name. Its configuration: $CONFIG"
    if booted && systemctl is-active --quiet transcribed; then
        say "The service still runs what it was started with; no recording is lost by:  systemctl restart transcribed"
    else
        say "Next:  transcribed doctor;  systemctl enable --now transcribed"
    fi
}

# Away again.

uninstall_all() {
    here && [ "$(id -u)" != 0 ] && fail "uninstalling needs root: sudo make uninstall"
    if booted; then
        systemctl --quiet disable --now transcribed.service transcribed.socket 2>/dev/null || true
    fi
    for file in "$UNITS/transcribed.service" "$UNITS/transcribed.socket" "$DROPINS/transcribed-gpu.conf" \
        "$DROPINS/transcribed-network.conf" "$LIBDIR/sysusers.d/transcribed.conf" "$LIBDIR/tmpfiles.d/transcribed.conf" \
        "$LIBDIR/modules-load.d/transcribed-gpu.conf" "$PREFIX/bin/transcribed" "$PREFIX/lib" \
        "$PREFIX/current"; do
        rm -f "$DESTDIR$file"
    done
    if [ "$(readlink "$DESTDIR$BINDIR/transcribed")" = "$PREFIX/bin/transcribed" ]; then
        rm -f "$DESTDIR$BINDIR/transcribed"
    fi
    rm -rf "$DESTDIR$PREFIX/versions"
    rmdir "$DESTDIR$DROPINS" "$DESTDIR$PREFIX/bin" "$DESTDIR$PREFIX" 2>/dev/null || true
    here && rm -rf /var/cache/transcribed
    if booted; then systemctl daemon-reload; systemctl reset-failed transcribed.service 2>/dev/null || true; fi
    say "Uninstalled. Left as they are: the inboxes, $SYSCONFDIR/transcribed, /var/lib/transcribed, /var/log/transcribed, and"
    say "the user transcribed, to whom files belong. docs/operations.md says how to remove them."
}

case ${1:-} in
    install) install_all ;;
    uninstall) uninstall_all ;;
    *) sed -n '2,3p' "$0"; exit 2 ;;
esac
