"""Cobbler servers: the real client over XML-RPC and a simulated one, behind one Protocol."""
