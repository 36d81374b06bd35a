# Sourced by setup-lib.sh: a C compiler and Python's headers, for the one dependency that comes as
# source only (borghash). Asked for only when drctl is being installed.
# shellcheck shell=bash

# Whether an extension module for the virtual environment's Python can be built, linking included.
compiler_works() {
  local cc include object=$venv/compiler-works.so
  cc=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("CC").split()[0])')
  include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  echo '#include <Python.h>' |
    with_compiler "$cc" -x c -shared -fPIC -I "$include" -o "$object" - >>"$log" 2>&1 || return 1
  rm -f -- "$object"
}

# Runs a command that sees the compiler which was unpacked below the virtual environment, if any.
with_compiler() {
  local compiler=$venv/compiler
  [ -d "$compiler" ] || { "$@"; return; }
  CPATH=$(joined "$compiler"/usr/include "$compiler"/usr/include/{*-linux-*,python3.*}) \
    LIBRARY_PATH=$(joined "$compiler"/usr/lib/*-linux-*) \
    with_unpacked "$compiler" "$@"
}

setup_compiler() {
  local linker_script
  ! compiler_works || return 0
  fetch_packages "$venv/compiler" gcc libc6-dev python3-dev
  # What libc.so says to the linker are absolute paths: turn those that were unpacked to here.
  for linker_script in "$venv"/compiler/usr/lib/*-linux-*/libc.so; do
    [ ! -e "$linker_script" ] || sed -i "s|\([ (]\)\(/usr/lib/\)|\1$venv/compiler\2|g" "$linker_script"
  done
  compiler_works ||
    die "there is no C compiler that can build a Python module" \
      "on Debian, as root: apt-get install gcc libc6-dev python3-dev" "the whole log is $log"
}
