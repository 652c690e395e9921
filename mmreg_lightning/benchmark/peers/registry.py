"""The peers by name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from mmreg_lightning.benchmark.peers.ants_syn import AntsSynPeer
from mmreg_lightning.benchmark.peers.convex_adam import ConvexAdamPeer
from mmreg_lightning.benchmark.peers.elastix import ElastixPeer
from mmreg_lightning.benchmark.peers.greedy import GreedyPeer
from mmreg_lightning.benchmark.peers.protocol import Peer

PEERS: dict[str, Peer] = {
    "convexadam": ConvexAdamPeer(),
    "ants_syn": AntsSynPeer(),
    "elastix": ElastixPeer(),
    "greedy": GreedyPeer(),
}


def peer_version(name: str) -> str | None:
    """Version of the package behind a peer; None where it is not installed."""
    try:
        return version(PEERS[name].package)
    except PackageNotFoundError:
        return None
