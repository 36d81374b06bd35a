"""The store of snapshots at a site: index, writer, reader, catalog, state (docs/format.md)."""
