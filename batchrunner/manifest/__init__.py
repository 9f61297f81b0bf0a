"""The manifest language: YAML with positions in, jobs out. Pure after the read."""
