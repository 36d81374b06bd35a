"""Where this host keeps what it remembers."""

import os

STATE_DIRECTORY = "DRCTL_STATE_DIR"


def state_home() -> str:
    """DRCTL_STATE_DIR; else /var/lib/drctl for root, XDG_STATE_HOME/drctl for others."""
    named = os.environ.get(STATE_DIRECTORY)
    if named:
        return os.path.abspath(named)
    if os.geteuid() == 0:
        return "/var/lib/drctl/state"
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "drctl")
