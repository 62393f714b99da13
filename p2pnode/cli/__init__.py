"""The command line: a client of the local door."""
