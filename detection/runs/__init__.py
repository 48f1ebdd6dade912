"""Run folders: configuration, environment, fingerprint of the data, skipped files."""
