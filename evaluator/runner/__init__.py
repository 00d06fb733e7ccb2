"""Child processes: the fork-server, the untrusted candidate, the trusted reference, and the pipe between."""
