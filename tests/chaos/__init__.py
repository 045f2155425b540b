"""Chaos: real brokers and a real fleet, work that goes through them, and what is broken meanwhile.

``make chaos`` or, with this folder's parent on the path, ``python -m chaos --help``; see docs/reliability.md.
"""
