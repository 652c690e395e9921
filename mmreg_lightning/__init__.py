"""Deformable CT/MR registration by supervised iterative descent on learned multi-modal features."""

from __future__ import annotations

__version__ = "0.1.0"
