# Sourced by scripts/bench: gets restic, pgBackRest, Borg and what makes the data, in versions of today.
# shellcheck shell=bash

peers=$venv/peers
borg_packages="gcc pkg-config python3-dev libacl1-dev liblz4-dev libssl-dev libxxhash-dev libzstd-dev"
data_packages="rsync zstd postgresql postgresql-contrib mariadb-server mariadb-backup openssl"
pgbackrest_libraries="libc6 libgcc-s1 libstdc++6 libbz2-1.0 liblz4-1 libzstd1 zlib1g liblzma5 libpq5
  libssh2-1t64 libssl3t64 libxml2 libicu76 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0
  libcom-err2 libkeyutils1 libldap2 libsasl2-2"

# What Debian's release $1 has of the packages $2..., unpacked in $peers/unpacked. The archive is the
# one that this machine uses; its own lists and packages are left as they are.
unpack_newer() {
  local release=$1 archive=$peers/apt uri deb
  shift
  uri=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' |
    awk '$2 == "Debian" {print $1; exit}')
  [ -n "$uri" ] || die "$* is missing, and this machine knows no archive of Debian" \
    "put it in $peers/bin"
  mkdir -p -- "$archive/lists/partial" "$archive/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $release main" \
    >"$archive/newer.list"
  local apt=(apt-get -o "Dir::Etc::SourceList=$archive/newer.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$archive/lists" -o "Dir::Cache=$archive" -o Acquire::Languages=none
    -o Debug::NoLocking=true -o APT::Sandbox::User=)
  quietly "apt-get update" "${apt[@]}" update
  (cd -- "$archive" && quietly "apt-get download $*" "${apt[@]}" download "$@")
  for deb in "$archive"/*.deb; do
    quietly "unpacking $deb" dpkg -x "$deb" "$peers/unpacked"
  done
  rm -rf -- "$archive"
}

# restic is one static program, so the newest that Debian has anywhere (sid) runs on every release.
get_restic() {
  unpack_newer sid restic
  mv -- "$peers/unpacked/usr/bin/restic" "$peers/bin/"
  rm -rf -- "$peers/unpacked"
}

# Debian 12 has pgBackRest 2.45; block incremental backups came with 2.46. So it is that of Debian
# 13, with the libraries that belong to it, by which it runs without being installed.
get_pgbackrest() {
  # shellcheck disable=SC2086  # one package, one word
  unpack_newer trixie pgbackrest $pgbackrest_libraries
  rm -rf -- "$peers/pgbackrest"
  mv -- "$peers/unpacked" "$peers/pgbackrest"
  cat >"$peers/bin/pgbackrest" <<'EOF'
#!/usr/bin/env bash
here=$(dirname -- "$(realpath -- "$0")")/../pgbackrest
loader=$(echo "$here"/usr/lib/*-linux-gnu/ld-linux-*.so.*)
exec "$loader" --library-path "$(dirname -- "$loader")" "$here/usr/bin/pgbackrest" "$@"
EOF
  chmod +x -- "$peers/bin/pgbackrest"
  quietly "pgbackrest" "$peers/bin/pgbackrest" version
}

# Borg comes as source, so that it needs a compiler and some headers; in an environment of its own.
get_borg() {
  # shellcheck disable=SC2086  # one package, one word
  fetch_packages "$tools" $borg_packages
  quietly "making Borg's environment" "$(find_python)" -m venv "$peers/borg"
  quietly "pip install borgbackup" "$peers/borg/bin/pip" install --no-input borgbackup
  ln -sf -- ../borg/bin/borg "$peers/bin/borg"
}

# What is there already is used again; remove .venv/peers to get them anew.
setup_peers() {
  mkdir -p -- "$peers/bin"
  # shellcheck disable=SC2086  # one package, one word
  dpkg --status $data_packages >/dev/null 2>&1 || fetch_packages "$tools" $data_packages
  [ -x "$peers/bin/restic" ] || { say "fetching restic"; get_restic; }
  [ -x "$peers/bin/pgbackrest" ] || { say "fetching pgBackRest"; get_pgbackrest; }
  [ -x "$peers/bin/borg" ] || { say "fetching and building Borg"; get_borg; }
  "$venv/bin/python" -c 'import matplotlib' 2>/dev/null ||
    quietly "installing matplotlib" "$venv/bin/pip" install --no-input matplotlib
}
