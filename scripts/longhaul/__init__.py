"""The long haul of faults: see scripts/torture."""
