"""The plan that `drctl init` writes where there is none."""

from drctl.engines import KINDS

_TEXT = """\
# A drctl plan. 'drctl validate' checks it, 'drctl schema' helps your editor with it.
version: 1
name: {name}
owner: you@example.com

# What the business can bear: data lost (rpo) and time down (rto).
objectives: {{rpo: 1h, rto: 4h}}

# A site is a place that fails as one. Two copies in one failure domain are one copy.
sites:
  here: {{failure_domain: this-machine}}
  # dr: {{failure_domain: another-city}}

# The first is written to; a copy follows it. Only a copy elsewhere survives this machine.
repositories:
  local:
    site: here
    path: repository
  # offsite:
  #   site: dr
  #   copy_of: local
  #   s3: {{bucket: my-bucket, endpoint: "https://s3.example.com", credentials: {{profile: dr}}}}

# The writer credential stays here. Move the identity, and its passphrase, to where a thief of this
# machine does not find them: without it nothing can be restored.
keys:
  credential: file:keys/writer.key
  identity: file:keys/identity.key

# What is protected. Engines:
# {engines}.
assets:
  data:
    files: {{paths: [data], exclude: ["*.tmp", ".cache/"]}}
    schedule: every 30m
  # settings:
  #   sqlite: {{path: /srv/app/settings.db}}
  #   schedule: hourly
  # ledger:
  #   command: {{run: [./export-ledger, --all], timeout: 10m}}
  #   schedule: daily at 02:30
  #   rpo: 1d
"""


def starter(name: str) -> str:
    """The text, for a plan of this name."""
    return _TEXT.format(name=name, engines=", ".join(KINDS))
