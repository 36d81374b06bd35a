"""drctl beside its peers, measured as whole processes in one run; see scripts/bench."""
