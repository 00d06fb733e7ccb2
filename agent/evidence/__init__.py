"""Evidence files: all that a kernel's figures rest on in one file, and judging again from it (docs/evidence.md)."""
