# Sourced by the other scripts: a calm environment, drctl's virtual environment, Debian's tools.
# shellcheck shell=bash

repo=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$(realpath -m -- "${DRCTL_VENV:-$repo/.venv}")
tools=$venv/tools
log=$venv/setup.log
script=${0##*/}

# What the tests call that is not Python: a command, and the Debian package that brings it.
# Each of them answers to --version, which is how we know that it runs.
debian_tools="
rsync    rsync
setfacl  acl
setfattr attr
sqlite3  sqlite3
mariadbd        mariadb-server-core
mariadb-backup  mariadb-backup
mariadb-binlog  mariadb-client
initdb          postgresql-15
redis-server    redis-server
redis-check-rdb redis-tools
mkfs.btrfs      btrfs-progs
faketime faketime
"

say() { printf 'scripts/%s: %s\n' "$script" "$*" >&2; }

die() {
  printf 'scripts/%s: %s\n' "$script" "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}

# Runs a command into the log; shows the log's end and stops only when the command fails.
quietly() {
  local what=$1 status=0
  shift
  printf '\n== %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] && return
  tail -n 40 -- "$log" >&2
  die "$what failed (exit status $status)" "the whole log is $log"
}

# The same surroundings everywhere: a caller's locale, mask or git hook must not change a result.
calm_surroundings() {
  export LC_ALL=C.UTF-8 LANG=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"
  unset LANGUAGE CDPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP
  unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE DRCTL_PLAN DRCTL_PASSPHRASE
  umask 022
  cd -- "$repo" || die "cannot enter $repo"
  mkdir -p -- "$venv" 2>/dev/null && [ -w "$venv" ] ||
    die "cannot write to $venv" "set DRCTL_VENV to a directory of your own and run this again"
  if [ ! -d "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; then
    mkdir -p -- "$venv/home"
    export HOME=$venv/home
  fi
}

# Prints the first Python that is new enough; what it lacks is told with the remedy.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    "$candidate" -c 'import ensurepip, venv' 2>/dev/null ||
      die "$candidate cannot make virtual environments" \
        "on Debian, as root: apt-get install python3-venv"
    command -v "$candidate"
    return
  done
  die "no Python 3.11 or newer was found" "on Debian, as root: apt-get install python3 python3-venv"
}

# Changes whenever the environment has to be made again.
venv_fingerprint() {
  { cat pyproject.toml && echo "$repo $venv" && "$1" -VV; } | sha256sum | cut -c -64
}

venv_is_ready() {
  local fingerprint=$1 extras=$2
  [ -x "$venv/bin/drctl" ] && "$venv/bin/python" -c 'import drctl' 2>/dev/null &&
    if [ -n "$extras" ]; then
      grep -qxF -- "$fingerprint $extras" "$venv/ready" 2>/dev/null
    else
      grep -qF -- "$fingerprint" "$venv/ready" 2>/dev/null
    fi
}

# Whether the virtual environment is one of this Python, and stands where it was made.
venv_stands() {
  local wanted found
  wanted=$("$1" -c 'import sys; print(sys.version)')
  found=$("$venv/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null) || return 1
  [ "$wanted" = "$found" ] && "$venv/bin/pip" --version >/dev/null 2>&1
}

# What we made for another Python or in another place is made anew. Anything else that lies there
# is not ours, and stays.
make_venv() {
  local python=$1
  if [ -e "$venv/pyvenv.cfg" ]; then
    ! venv_stands "$python" || return 0
    [ -e "$log" ] || die "$venv is a virtual environment for another use" "set DRCTL_VENV elsewhere"
    rm -rf -- "$venv/bin" "$venv/lib" "$venv/lib64" "$venv/include" "$venv/ready"
  elif [ -n "$(ls -A -- "$venv" | grep -vxE 'home|setup\.log|tools|cache')" ]; then
    die "$venv holds something else than a virtual environment" "set DRCTL_VENV to another place"
  fi
  quietly "making a virtual environment" "$python" -m venv "$venv"
}

# Installs drctl, editable, with the given extras ("test,check", or nothing). The user's own pip
# configuration decides where packages come from. What makes it true is written last.
install_drctl() {
  local extras=$1 python fingerprint
  python=$(find_python)
  fingerprint=$(venv_fingerprint "$python")
  ! venv_is_ready "$fingerprint" "$extras" || return 0
  say "installing drctl${extras:+ with the extras $extras} in $venv"
  make_venv "$python"
  PIP_USER=false PIP_DISABLE_PIP_VERSION_CHECK=1 quietly "pip" \
    "$venv/bin/python" -m pip install --no-input --editable ".${extras:+[$extras]}"
  grep -sqF -- "$fingerprint" "$venv/ready" || : >"$venv/ready"
  printf '%s %s\n' "$fingerprint" "$extras" >>"$venv/ready"
}

# Two runs at once would disturb each other's installation, so they take turns.
setup_venv() {
  ( flock 9 && install_drctl "$1" ) 9<pyproject.toml
}

# Prints the packages whose command is missing or does not run.
missing_packages() {
  local command package
  while read -r command package; do
    [ -z "$command" ] || with_tools "$command" --version >/dev/null 2>&1 || echo "$package"
  done <<<"$debian_tools"
}

# A search path of those that are there. No part of it is empty, which would mean "here".
joined() {
  local path found=
  for path in "$@"; do
    [ ! -e "$path" ] || found=$found:$path
  done
  printf '%s' "${found#:}"
}

# Runs a command that sees the programs which were unpacked in a directory, if any.
with_unpacked() {
  local directory=$1
  shift
  [ -d "$directory" ] || { "$@"; return; }
  PATH="$directory/usr/run:$PATH" "$@"
}

# Programs that were unpacked find their libraries by a variable, which whoever calls them would
# have to hand on. drctl hands on very little, so each gets a caller of its own that sets it.
wrap_unpacked() {
  local directory=$1 libraries program wrapper
  libraries=$(joined "$directory"/{usr/lib,lib}/*-linux-*)
  mkdir -p -- "$directory/usr/run"
  for program in "$directory"/{bin,sbin,usr/bin,usr/sbin,usr/lib/postgresql/15/bin}/*; do
    [ -x "$program" ] || continue
    wrapper=$directory/usr/run/${program##*/}
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$program" >"$wrapper"
    chmod 755 -- "$wrapper"
  done
}

with_tools() { with_unpacked "$tools" "$@"; }

# Installs packages by way of `apt-get` as root; the first argument may be `sudo -n`, in words.
install_as_root() {
  local become=$1 apt
  shift
  apt="$become env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300"
  # shellcheck disable=SC2086  # these are words, not file names
  {
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || quietly "apt-get update" $apt update
    $apt install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null && return
    quietly "apt-get update" $apt update
    quietly "apt-get install $*" $apt install -y --no-install-recommends "$@"
  }
}

# Without root: apt keeps its lists and files in a directory of ours, and reads the system's list
# of installed packages, so that it fetches exactly what is missing. Nothing is installed: it is
# unpacked in the directory named first.
unpack_as_user() {
  local directory=$1 apt_root=$venv/apt deb
  shift
  mkdir -p -- "$apt_root/lists/partial" "$apt_root/archives/partial" "$directory"
  local apt=(apt-get -o "Dir::State::Lists=$apt_root/lists" -o "Dir::Cache=$apt_root"
    -o "Dir::Cache::Archives=$apt_root/archives" -o Acquire::Languages=none
    -o Debug::NoLocking=true)
  quietly "apt-get update" "${apt[@]}" update
  quietly "apt-get install --download-only $*" \
    "${apt[@]}" install -y --no-install-recommends --download-only "$@"
  for deb in "$apt_root"/archives/*.deb; do
    quietly "unpacking $deb" dpkg -x "$deb" "$directory"
  done
  wrap_unpacked "$directory"
  rm -rf -- "$apt_root"
}

# Gets Debian packages in the way that is open to us; the directory is for the last way.
fetch_packages() {
  local directory=$1
  shift
  command -v apt-get >/dev/null ||
    die "these packages are missing, and there is no apt-get to fetch them: $*"
  say "fetching from Debian: $*"
  if [ "$(id -u)" -eq 0 ]; then
    install_as_root "" "$@"
  elif sudo -n true >/dev/null 2>&1; then
    install_as_root "sudo -n" "$@"
  else
    unpack_as_user "$directory" "$@"
  fi
}

# Runs a script of ours where it may make network namespaces: as root, or as root in a user
# namespace.
in_namespaces() {
  local from=$PWD front=() which=$1
  shift
  calm_surroundings
  setup_venv test
  setup_tools
  with_tools sh -c 'command -v ip && command -v tc' >/dev/null || fetch_packages "$tools" iproute2
  [ "$(id -u)" -eq 0 ] || front=(unshare --user --map-root-user)
  "${front[@]}" unshare --net true ||
    die "no network namespace can be made here" "run this as root, or allow user namespaces"
  export PATH="$venv/bin:$PATH" PYTHONPATH="$repo/tests:$repo/tests/faults:$repo/scripts"
  cd -- "$from"
  with_tools "${front[@]}" "$venv/bin/python" "$repo/scripts/$which" "$@"
}

# Sees to it that every command of debian_tools runs. What cannot be had ends the run: a test
# that did not run proves nothing.
setup_tools() {
  local missing
  missing=$(missing_packages | paste -sd ' ')
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086  # one package, one word
  fetch_packages "$tools" $missing
  missing=$(missing_packages | paste -sd ' ')
  [ -z "$missing" ] || die "these do not run although they were fetched: $missing" \
    "the whole log is $log"
}
