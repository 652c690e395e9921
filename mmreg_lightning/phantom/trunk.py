"""The trunk: skin, subcutaneous fat, muscle wall, ribs, pelvis, diaphragm, lungs, heart, spine and its muscles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS, Layer
from mmreg_lightning.phantom.noise import SmoothField, bounded_normal, bounded_scalar
from mmreg_lightning.phantom.shapes import ellipsoid, near, tube


@dataclass(frozen=True)
class Trunk:
    """The points inside the body and their distances (mm, negative inside) to the surfaces of the trunk.

    Attributes:
        index: (M,) flat indices of the points inside or at the skin.
        points: (3, M) their anatomical coordinates.
        skin, muscle, cavity: (M,) distances to the skin, to the outer and to the inner surface of the muscle wall.
        diaphragm: (M,) distance to the diaphragm, negative below it.
    """

    index: np.ndarray
    points: np.ndarray
    skin: np.ndarray
    muscle: np.ndarray
    cavity: np.ndarray
    diaphragm: np.ndarray

    @property
    def abdomen(self) -> np.ndarray:
        """(M,) distance to the abdominal cavity."""
        return np.maximum(self.cavity, self.diaphragm)


class TrunkModel:
    """Random shape of the trunk of one subject."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.half_width = 146 + bounded_scalar(rng, 7)
        self.half_depth = 114 + bounded_scalar(rng, 6)
        self.roundness = rng.uniform(2.2, 2.7)
        self.fat = rng.uniform(11, 26)
        self.wall = rng.uniform(11, 15)
        self.dome_right = 82 + bounded_scalar(rng, 9)
        self.dome_left = 68 + bounded_scalar(rng, 9)
        self.recess = rng.uniform(65, 95)
        self.rib_phase = rng.uniform(0, 1)
        self.rib_pitch = rng.uniform(26, 31)
        self.disc_pitch = rng.uniform(32, 36)
        self.disc_phase = rng.uniform(0, 1)
        self.spine_bow = rng.uniform(4, 14)
        self.spine_lean = bounded_scalar(rng, 5)
        stature = math.exp(bounded_scalar(rng, 0.08))
        self.vertebra = (23.0 * stature, 18.0 * stature)
        self.psoas_size = np.exp(bounded_normal(rng, 0.12, 2))
        self.crest = -108 + bounded_scalar(rng, 8)
        self.heart = np.array([-24, 26, 112]) + bounded_normal(rng, 6, 3)
        self.heart_size = math.exp(bounded_scalar(rng, 0.08))
        self.roughness = SmoothField(rng, length=28, period=448)

    def frame(self, index: np.ndarray, points: np.ndarray) -> Trunk:
        """The trunk at ``points`` (3, N), anatomical mm, whose flat indices are ``index`` (N,)."""
        x, y, z = points
        waist = 1 - 0.045 * np.exp(-(((z + 40) / 60) ** 2)) - 0.05 * np.clip((z - 60) / 130, 0, 1) ** 2
        radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
        n = self.roundness
        q = (np.abs(x) / (self.half_width * waist)) ** n + (np.abs(y) / (self.half_depth * waist)) ** n
        q = 1 / np.maximum(q, 1e-4) ** (1 / n)
        skin = radius * (1 - q)
        kept = np.flatnonzero(skin < 10)
        index, points, skin, radius = index[kept], points[:, kept], skin[kept], radius[kept]
        x, y, z = points
        ux, uy = x / radius, y / radius
        lower = np.clip((70 - z) / 200, 0, 1)
        fat = self.fat * (0.75 + 0.35 * ux * ux * lower + 0.45 * lower * np.abs(uy) + 0.15 * np.clip(-uy, 0, 1) ** 2)
        fat += (1.5 + 0.08 * self.fat) * self.roughness(points)[0]
        # At least a thin layer of fat.
        muscle = skin + np.maximum(fat, 5)
        wall = self.wall * (1 + 0.35 * np.clip(-uy, 0, 1) - 0.25 * np.clip(uy, 0, 1))
        wall += 22 * np.clip((self.crest + 20 - z) / 60, 0, 1) * np.clip(0.4 - uy, 0, 1)
        cavity = muscle + wall
        return Trunk(index, points, skin, muscle, cavity, self._diaphragm(points, cavity))

    def _diaphragm(self, points: np.ndarray, cavity: np.ndarray) -> np.ndarray:
        """Distance to the diaphragm: two domes that descend steeply to the wall (costophrenic recesses)."""
        x, y, z = points
        side = 1 / (1 + np.exp(-x / 22))
        top = self.dome_left + (self.dome_right - self.dome_left) * side
        top = top - 14 * np.exp(-((x / 32) ** 2)) - 10 * np.clip(y / 80, -1, 1) ** 2
        behind = np.clip(0.5 - y / 120, 0.15, 1)
        height = top - self.recess * behind * np.exp(np.minimum(cavity, 0) / 15) - 0.12 * np.clip(-y, 0, None)
        return 0.75 * (z - height)

    def back(self, z: np.ndarray) -> np.ndarray:
        """Position y (mm) of the vertebral bodies at height ``z``: lumbar lordosis, thoracic kyphosis."""
        return -47 + self.spine_bow * np.sin((z + 110) / 75 + 0.3) * -0.6 - 10 * np.clip((z - 60) / 130, 0, 1)

    def shell_layers(self, trunk: Trunk) -> Iterator[Layer]:
        """Layers behind the organs: from the skin to the filled cavities."""
        index, p = trunk.index, trunk.points
        yield Layer("skin", index, trunk.skin)
        yield Layer("fat", index, trunk.skin + 2, LABEL_IDS["subcutaneous fat"])
        yield Layer("muscle", index, trunk.muscle)
        yield from self._ribs(trunk)
        yield Layer("visceral fat", index, trunk.cavity)
        yield from self._pelvis(trunk)
        chest = np.maximum(trunk.cavity, -trunk.diaphragm)
        yield Layer("muscle", index, np.maximum(trunk.cavity, np.abs(trunk.diaphragm + 1.5) - 1.5))
        x, y, z = p
        mediastinum = ellipsoid(p, np.array([-4, 8, 140]), np.array([30, 78, 110]))
        yield Layer("lung", index, np.maximum(chest + 1, -mediastinum), LABEL_IDS["lungs"])
        thorax = near(p, np.array([-110, -70, 40]), np.array([80, 100, 260]))
        pt, clip = p[:, thorax], (chest + 3)[thorax]
        heart = ellipsoid(pt, self.heart, np.array([54, 46, 50]) * self.heart_size)
        yield Layer("visceral fat", index[thorax], np.maximum(heart - 4, clip), 0)
        yield Layer("myocardium", index[thorax], np.maximum(heart, clip), 0)
        for offset, radii in (
            ((-18, -4, -4), (23, 22, 27)),
            ((18, 14, -8), (20, 17, 30)),
            ((14, -20, 24), (24, 14, 18)),
        ):
            chamber = ellipsoid(pt, self.heart + np.array(offset), np.array(radii) * self.heart_size)
            yield Layer("venous blood" if offset[0] > 0 else "arterial blood", index[thorax], np.maximum(chamber, clip))

    def _ribs(self, trunk: Trunk) -> Iterator[Layer]:
        """Ribs inside the wall that slope down towards the front and end at the costal arch, and the sternum."""
        x, y, z = trunk.points
        level = z + 0.5 * y
        wall = (trunk.muscle + trunk.cavity) / 2
        near_wall = np.flatnonzero((np.abs(wall) < 12) & (level > -30) & (np.abs(x) > 12))
        x, y, z, level, wall = x[near_wall], y[near_wall], z[near_wall], level[near_wall], wall[near_wall]
        turn = level / self.rib_pitch + self.rib_phase
        along = self.rib_pitch * (turn - np.floor(turn) - 0.5) * 0.9
        rib = np.sqrt((wall / 1.0) ** 2 + (along / 1.45) ** 2) - 4.2
        arch = 0.6 * (35 + 0.55 * np.clip(y, 0, None) - 0.35 * np.abs(x) - level)
        sternum = np.sqrt(np.clip(np.abs(x) - 14, 0, None) ** 2 + wall**2) - 5
        sternum = np.maximum(sternum, np.maximum(95 - z, 20 - y))
        rib = np.minimum(np.maximum(rib, arch), sternum)
        index = trunk.index[near_wall]
        yield Layer("cortical bone", index, rib)
        yield Layer("marrow", index, rib + 2.2)

    def _pelvis(self, trunk: Trunk) -> Iterator[Layer]:
        """Iliac wings: plates on the inner side of the wall below a curved crest."""
        x, y, z = trunk.points
        low = np.flatnonzero((z < self.crest + 15) & (np.abs(trunk.cavity) < 22) & (np.abs(x) > 30))
        x, y, z = x[low], y[low], z[low]
        crest = z - (self.crest - 0.010 * (y + 30) ** 2 * np.where(y > -30, np.float32(1), np.float32(2)))
        wing = np.maximum(np.abs(trunk.cavity[low] + 3) - 5.5, np.maximum(crest, 38 - np.abs(x)))
        yield Layer("cortical bone", trunk.index[low], wing)
        yield Layer("marrow", trunk.index[low], wing + 2.5)

    def spine_layers(self, trunk: Trunk) -> Iterator[Layer]:
        """Muscles beside the spine, both psoas muscles, then the vertebral column."""
        inner = near(trunk.points, np.array([-110, -130, -np.inf]), np.array([110, 40, np.inf]))
        index, p = trunk.index[inner], trunk.points[:, inner]
        x, y, z = p
        middle = self.spine_lean * np.sin(z / 90)
        dx, dy = x - middle, y - self.back(z)
        wide, deep = self.vertebra

        erector = np.sqrt(((np.abs(dx) - 32) / 29) ** 2 + ((dy + 33) / 20) ** 2)
        erector = np.maximum((erector - 1) * 21, trunk.muscle[inner] + 2)
        yield Layer("muscle", index, erector)
        quadratus = np.sqrt(((np.abs(dx) - 58) / 22) ** 2 + ((dy + 18) / 9) ** 2)
        yield Layer("muscle", index, np.maximum((quadratus - 1) * 11, np.maximum(z - 25, -120 - z)))

        heights = np.array([20.0, -30, -80, -130, -200])
        for side, name, size in ((1, "right psoas", self.psoas_size[0]), (-1, "left psoas", self.psoas_size[1])):
            nodes = np.stack([[28.0, 36, 44, 55, 62], [-2.0, 0, 4, 14, 40], heights], axis=1)
            nodes[:, 0] = nodes[:, 0] * side + self.spine_lean * np.sin(heights / 90)
            nodes[:, 1] += self.back(heights)
            flank = near(p, np.array([-95 if side < 0 else 5, -80, -240]), np.array([-5 if side < 0 else 95, 40, 45]))
            psoas = tube(p[:, flank], nodes, np.array([5.0, 13, 18, 20, 18]) * size)
            yield Layer("muscle", index[flank], psoas, LABEL_IDS[name])

        column = near(p, np.array([-65, -130, -np.inf]), np.array([65, 0, np.inf]))
        index, dx, dy, z = index[column], dx[column], dy[column], z[column]
        label = LABEL_IDS["vertebral column"]
        turn = z / self.disc_pitch + self.disc_phase
        gap = self.disc_pitch * np.abs(turn - np.floor(turn) - 0.5)  # mm from the middle of the vertebra
        edge = gap - (self.disc_pitch / 2 - 4.5)
        flare = 1 + 0.05 * np.clip(gap / (self.disc_pitch / 2), 0, 1) ** 2
        body = np.sqrt((dx / (wide * flare)) ** 2 + (dy / (deep * flare)) ** 2)
        body = (body - 1) * (wide + deep) / 2
        process_edge = gap - self.disc_pitch * 0.36
        arch = np.abs(np.sqrt((dx / 1.15) ** 2 + (dy + 29) ** 2) - 13) - 4
        spinous = np.maximum(np.abs(dx) - 3.5, np.maximum(-62 - dy, dy + 40))
        transverse = np.maximum(np.sqrt((dy + 24 + 0.2 * np.abs(dx)) ** 2 + (gap - 3) ** 2) - 5, np.abs(dx) - 42)
        posterior = np.minimum(
            np.maximum(np.minimum(arch, spinous), process_edge), np.maximum(transverse, 12 - np.abs(dx))
        )
        posterior = np.maximum(posterior, trunk.muscle[inner][column] + 3)
        yield Layer("cortical bone", index, posterior, label)
        yield Layer("marrow", index, posterior + 3, KEEP)
        yield Layer("cortical bone", index, body, label)
        yield Layer("marrow", index, np.maximum(body + 2.5, edge + 1.5), KEEP)
        yield Layer("disc", index, np.maximum(body + 1, -edge), KEEP)
        canal = np.sqrt((dx / 1.15) ** 2 + (dy + 29) ** 2) - 9
        yield Layer("spinal fluid", index, canal, label)
        yield Layer("spinal cord", index, (canal + 4.5), KEEP)
