# Sourced by scripts/bench: gets restic, Borg and what makes the data, in versions of today.
# shellcheck shell=bash

peers=$venv/peers
borg_packages="gcc pkg-config python3-dev libacl1-dev liblz4-dev libssl-dev libxxhash-dev libzstd-dev"
data_packages="rsync zstd postgresql postgresql-contrib"

# restic is one static program, so the newest that Debian has anywhere (sid) runs on every release.
# The archive is the one that this machine uses; its own lists and packages are left as they are.
get_restic() {
  local archive=$peers/apt uri
  uri=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' |
    awk '$2 == "Debian" {print $1; exit}')
  [ -n "$uri" ] || die "restic is missing, and this machine knows no archive of Debian" \
    "put restic 0.19 or newer in $peers/bin"
  mkdir -p -- "$archive/lists/partial" "$archive/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri sid main" \
    >"$archive/sid.list"
  local apt=(apt-get -o "Dir::Etc::SourceList=$archive/sid.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$archive/lists" -o "Dir::Cache=$archive" -o Acquire::Languages=none
    -o Debug::NoLocking=true -o APT::Sandbox::User=)
  quietly "apt-get update" "${apt[@]}" update
  (cd -- "$archive" && quietly "apt-get download restic" "${apt[@]}" download restic)
  quietly "unpacking restic" dpkg -x "$archive"/restic_*.deb "$archive/unpacked"
  cp -- "$archive/unpacked/usr/bin/restic" "$peers/bin/"
  rm -rf -- "$archive"
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
  [ -x "$peers/bin/borg" ] || { say "fetching and building Borg"; get_borg; }
  "$venv/bin/python" -c 'import matplotlib' 2>/dev/null ||
    quietly "installing matplotlib" "$venv/bin/pip" install --no-input matplotlib
}
