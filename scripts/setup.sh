# shellcheck shell=bash
# What scripts/test and scripts/demo share: from a fresh Debian 12, or as an ordinary user, to a Python environment.

choose_python() { # sets `python`, and `environments`: the folder for environments made with it
    if ((EUID == 0)); then
        python=/usr/bin/python3 # not one under /root, which `nobody` could not execute
        environments=/var/cache/forklight
    else
        python=python3
        environments=$PWD
    fi
}

install_debian_packages() { # install_debian_packages PACKAGE...: those of them that are missing
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}")
    # The package lists of a fresh machine are empty, those of a neglected one name files that are gone.
    "${install[@]}" 2>/dev/null || { apt-get update --quiet=2 && "${install[@]}"; }
}

key() { # key LOCK...: changes with the lock files, the interpreter and where it is
    { cat "$@" && "$python" -c 'import sys; print(sys.executable, sys.version)'; } | sha256sum | cut -c 1-16
}

make_environment() { # make_environment DIRECTORY LOCK...: with exactly what the lock files name, unless it is there
    (($# > 1)) && [[ $1 ]] || { echo "make_environment needs a directory and a lock file" >&2 && exit 1; }
    local environment=$1 locks=("${@:2}") lock
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "Forklight needs Python 3.11, $python is $("$python" --version)" >&2 && exit 1; }
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        { echo "$python cannot make virtual environments: install Debian's package python3-venv" >&2 && exit 1; }
    mkdir -p "$(dirname "$environment")"
    exec 9<"$(dirname "$environment")" && flock 9 # two runs at once make it once
    [[ -f $environment/key && $(<"$environment/key") == "$(key "${locks[@]}")" ]] && return
    "$python" -m venv --clear "$environment" # which would empty the folder we are in, had it no name
    for lock in "${locks[@]}"; do
        install_locked "$lock" "$environment/bin/python"
    done
    key "${locks[@]}" >"$environment/key"
}

install_locked() { # install_locked LOCK PYTHON OPTION...: exactly the files whose hashes the lock file has
    "$2" -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --only-binary :all: -r "$1" "${@:3}"
}
