"""Phantom subjects that several files look at, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from mmreg_lightning.phantom.subject import PhantomSubject, make_subject

SIZE = (64, 54, 64)


@pytest.fixture(scope="session")
def subject() -> Callable[..., PhantomSubject]:
    """Subject of a number, of seed 7, on a grid of 6 mm unless another size is asked for."""

    @cache
    def make(index: int, size: tuple[int, int, int] = SIZE, intra_displacement: float = 15.0) -> PhantomSubject:
        return make_subject(7, index, size, intra_displacement=intra_displacement)

    return make
