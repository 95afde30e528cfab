# shellcheck shell=bash
# Sourced by the programs of this folder: makes .venv and installs the package into it where that was not done yet.
#
# An install ends with a stamp in .venv: where the checkout is, the Python behind .venv, and pyproject.toml as it was
# installed. Every start compares the stamp in bash itself, so a start with nothing to install runs no other program.
# Bash 3.2, the one macOS has, will do.

say() { printf 'betafold-mlx: %s\n' "$1" >&2; }

fail() {
  say "$1"
  exit 1
}

is_installed() { # ROOT base|test
  local root="$1" place="" interpreter="" installed="" wanted=""
  [[ -x "$root/.venv/bin/betafold-mlx" && -r "$root/.venv/.stamp-$2" ]] || return 1
  {
    IFS= read -r place && IFS= read -r interpreter || return 1
    IFS= read -r -d '' installed || true # to the end of the file
  } <"$root/.venv/.stamp-$2"
  IFS= read -r -d '' wanted <"$root/pyproject.toml" || true
  # -ef: after an upgrade of the system the link in .venv can lead to another Python
  [[ "$place" == "$root" && "$root/.venv/bin/python" -ef "$interpreter" && "$installed" == "$wanted" ]]
}

is_ours_and_moved() { # ROOT: the stamp is of another place or another Python
  local place="" interpreter=""
  [[ -r "$1/.venv/.stamp-base" ]] || return 1
  { IFS= read -r place && IFS= read -r interpreter; } <"$1/.venv/.stamp-base" || true
  [[ "$place" != "$1" || ! "$1/.venv/bin/python" -ef "$interpreter" ]]
}

check_platform() {
  local machine
  machine="$(uname -s)-$(uname -m)"
  case "$machine" in
    Darwin-arm64 | Linux-x86_64 | Linux-aarch64) ;;
    *) fail "MLX runs on Macs with Apple silicon and on Linux (x86_64, aarch64), and this is $machine" ;;
  esac
}

find_python() { # sets $python to a Python of 3.10 or newer, outside any virtual environment
  local name code='import sys; sys.version_info < (3, 10) and sys.exit(1); print(sys._base_executable)'
  for name in ${BETAFOLD_PYTHON:+"$BETAFOLD_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    python="$("$name" -I -c "$code" 2>/dev/null)" && return
    [[ -z "${BETAFOLD_PYTHON:-}" ]] || fail "BETAFOLD_PYTHON is '$name', which is no Python 3.10 or newer"
  done
  fail "needs Python 3.10 or newer: install one, or set BETAFOLD_PYTHON to its path"
}

lock() { # PYTHON: wait until no other start installs; the lock on file 9 is the kernel's and ends with this process
  local code='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'
  "$1" -I -c "$code" 4 2>/dev/null && return # 4: LOCK_NB
  say "another start is installing: waiting for it to finish ..."
  "$1" -I -c "$code" 0
}

make_venv() { # VENV PYTHON
  rm -rf "$1"
  if command -v uv >/dev/null; then
    uv venv --quiet --seed --python "$2" "$1"
  else
    "$2" -I -m venv "$1"
  fi || fail "cannot make $1"
}

install_package() { # VENV REQUIREMENT
  if command -v uv >/dev/null; then
    uv pip install --quiet --python "$1/bin/python" --editable "$2"
  else # with `user = true` in pip's configuration pip would refuse to install into .venv
    PIP_USER=0 "$1/bin/python" -I -m pip -qq --disable-pip-version-check --no-input install --editable "$2"
  fi || fail "the installation failed; the next start tries again (the first one needs a network)"
  "$1/bin/python" -I -c 'import mlx.core, betafold_mlx' || fail "the package was installed but does not start"
}

ensure_venv() { # ROOT base|test: the package alone, or with the tools of scripts/test
  is_installed "$1" "$2" || set_up "$1" "$2" </dev/null >&2
}

set_up() { # ROOT base|test
  local root="$1" venv="$1/.venv" python="" interpreter="" project="" kind kinds="base" requirement="$1"
  [[ "$2" == base ]] || kinds="base test" requirement="$1[test]"
  check_platform
  find_python
  trap 'say "interrupted; the next start takes the installation up again"; exit 130' INT
  { exec 9>>"$venv.lock"; } 2>/dev/null || fail "cannot write into $root"
  lock "$python"
  if ! is_installed "$root" "$2"; then # another start may have done it
    IFS= read -r -d '' project <"$root/pyproject.toml" || true
    # The lock file has text in it while .venv is being made: what was cut short is made again from nothing.
    if [[ -s "$venv.lock" || ! -e "$venv" ]] || is_ours_and_moved "$root"; then
      say "first start: making .venv and installing (about a minute) ..."
      printf 'unfinished\n' >"$venv.lock"
      make_venv "$venv" "$python"
    else
      say "updating .venv ..."
    fi
    for kind in $kinds; do is_installed "$root" "$kind" || rm -f "$venv/.stamp-$kind"; done
    install_package "$venv" "$requirement"
    interpreter="$("$venv/bin/python" -I -c 'import os, sys; print(os.path.realpath(sys.executable))')"
    for kind in $kinds; do
      printf '%s\n%s\n%s' "$root" "$interpreter" "$project" >"$venv/.stamp-$kind.new"
      mv "$venv/.stamp-$kind.new" "$venv/.stamp-$kind"
    done
    : >"$venv.lock"
    say "installed in $SECONDS s"
  fi
  exec 9>&-
  trap - INT
}
