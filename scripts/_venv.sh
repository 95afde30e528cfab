# shellcheck shell=bash
# Sourced by scripts/betafold-mlx and scripts/test: make sure that .venv is there and up to date.
#
# Every start comes through here, so the usual case - nothing to do - starts no other program: an install ends by leaving
# a stamp in .venv (see _install.py), which bash compares by itself. Only when the stamp does not fit is Python looked
# for and _install.py run. Works in bash 3.2, the one macOS has.

fail() { # MESSAGE
  printf 'betafold-mlx: %s\n' "$1" >&2
  exit 1
}

venv_is_ready() { # ROOT base|test: does the stamp tell of this checkout, this interpreter and this pyproject.toml?
  local root="$1" stamp="$1/.venv/.stamp-$2" location="" interpreter="" installed="" wanted=""
  [[ -r "$stamp" && -x "$root/.venv/bin/betafold-mlx" ]] || return 1
  {
    IFS= read -r location && IFS= read -r interpreter || return 1
    IFS= read -r -d '' installed || true # to the end of the file
  } <"$stamp"
  IFS= read -r -d '' wanted <"$root/pyproject.toml" || true
  # -ef: the link in .venv can come to lead to another Python, when the system's is upgraded
  [[ "$location" == "$root" && "$root/.venv/bin/python" -ef "$interpreter" && "$installed" == "$wanted" ]]
}

check_platform() { # MLX comes as binary packages for these only
  local system machine
  system="$(uname -s)" machine="$(uname -m)"
  case "$system-$machine" in
    Darwin-arm64 | Linux-x86_64 | Linux-aarch64) ;;
    Darwin-*) fail "MLX needs a Mac with Apple silicon, and this is an Intel Mac or a shell under Rosetta ($machine)" ;;
    Linux-*) fail "MLX has packages for Linux on x86_64 and aarch64 only, and this machine is $machine" ;;
    *) fail "runs on macOS and Linux only, and this is $system (on Windows use WSL)" ;;
  esac
}

python_version() { # PYTHON: prints major.minor; nothing for a program that is no Python 3
  "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

find_python() { # sets $python to a Python of 3.10 or newer
  local candidates="python3 python3.14 python3.13 python3.12 python3.11 python3.10" name version old=""
  if [[ -n "${BETAFOLD_PYTHON:-}" ]]; then
    python="$BETAFOLD_PYTHON" version="$(python_version "$BETAFOLD_PYTHON")"
    case "$version" in
      3.[1-9][0-9]) return ;;
      "") fail "BETAFOLD_PYTHON is '$BETAFOLD_PYTHON', which is not a Python 3 that starts" ;;
      *) fail "needs Python 3.10 or newer, and BETAFOLD_PYTHON ('$BETAFOLD_PYTHON') is $version" ;;
    esac
  fi
  for name in $candidates; do
    python="$(command -v "$name")" || continue
    version="$(python_version "$python")"
    case "$version" in
      3.[1-9][0-9]) return ;;
      3.*) old="$python is $version" ;;
    esac
  done
  fail "needs Python 3.10 or newer, and ${old:-none is on the PATH}: install one, or set BETAFOLD_PYTHON to its path"
}

ensure_venv() { # ROOT base|test: the package alone, or with the tools of scripts/test
  local python=""
  if venv_is_ready "$1" "$2"; then return; fi
  check_platform
  find_python
  "$python" -I "$1/scripts/_install.py" "$1" "$2" </dev/null >&2 || exit $?
}
