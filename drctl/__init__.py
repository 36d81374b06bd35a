"""drctl: backup and disaster-recovery orchestration."""

__version__ = "0.1.0"
