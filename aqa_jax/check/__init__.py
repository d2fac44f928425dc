"""What ``--mode check`` looks at: raw data, built datasets, runs."""
