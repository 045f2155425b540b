"""Batch servers: what `qstat` and `pbsnodes` print, over SSH or from a simulated server."""
