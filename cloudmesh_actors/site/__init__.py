"""The site: the inventory of clusters, racks, BMCs and servers, from a YAML file (``docs/site-file.md``).

Without a site file, FutureGrid as it was, simulated.
"""

from cloudmesh_actors.site.loading import built_in, check, current, load, reset
from cloudmesh_actors.site.model import BatchServer, Bmc, Cluster, Cobbler, Host, Image, Place, Rack, Site

__all__ = [
    "BatchServer",
    "Bmc",
    "Cluster",
    "Cobbler",
    "Host",
    "Image",
    "Place",
    "Rack",
    "Site",
    "built_in",
    "check",
    "current",
    "load",
    "reset",
]
