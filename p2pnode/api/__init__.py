"""The API: the node's HTTP API on loopback, and its client."""
