"""The smallest plan around an engine's assets: one site, one repository."""

HEAD = """\
version: 1
name: test
objectives: {{rpo: 2h}}
sites:
  here: {{failure_domain: a}}
repositories:
  local: {{site: here, path: local}}
keys: {{credential: file:keys/writer.key}}
assets:
"""  # to be formatted, with what follows
