"""The engines: each runs one execution at a time per call, fenced in, and says how it ended."""
