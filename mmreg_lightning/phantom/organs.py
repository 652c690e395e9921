"""The organs of the abdomen, their vessels and the bowel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS, Layer
from mmreg_lightning.phantom.noise import SmoothField, bounded_normal, bounded_scalar
from mmreg_lightning.phantom.shapes import ellipsoid, near, rotation, segments, smooth_union, tube, vessel_tree
from mmreg_lightning.phantom.trunk import Trunk

Kidney = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # centre, radii, rotation, +1 right or -1 left


class OrganModel:
    """Random position, size and shape of the organs of one subject, in anatomical mm."""

    def __init__(self, rng: np.random.Generator) -> None:
        def place(*centre: float, spread: float = 5) -> np.ndarray:
            return np.array(centre) + bounded_normal(rng, spread, 3)

        def size(*radii: float, spread: float = 0.09) -> np.ndarray:
            return np.array(radii) * np.exp(bounded_normal(rng, spread, 3))

        def turn(*degrees: float) -> np.ndarray:
            return rotation(np.array(degrees) + bounded_normal(rng, 8, 3))

        self.lumps = SmoothField(rng, length=16, period=320)
        self.loops = SmoothField(rng, length=15, period=300, channels=2)
        self.liver_right = place(62, -2, 20), size(68, 78, 80), turn(0, 12, 0)
        self.liver_left = place(4, 44, 38), size(66, 36, 34), turn(0, -12, 8)
        self.liver_tip = place(82, 0, -45), size(32, 42, 50), turn(0, 0, 0)
        self.spleen = place(-84, -36, 30, spread=6), size(34, 44, 54), turn(-15, 8, 20)
        self.spleen_hilum = self.spleen[0] + np.array([42, 20, -6]), size(22, 26, 40)
        self.kidneys: tuple[Kidney, Kidney] = (
            (place(62, -40, -34), size(30, 27, 55), turn(10, -12, 20), 1),
            (place(-63, -38, -22), size(30, 27, 56), turn(10, 12, -20), -1),
        )
        swell = math.exp(bounded_scalar(rng, 0.16))
        shift = bounded_normal(rng, 8, 3)
        path = [
            (-58, -14, 62), (-66, 12, 42), (-66, 38, 14), (-48, 54, -16), (-14, 56, -30), (16, 44, -22), (28, 34, -16),
        ]  # fmt: skip
        self.stomach_path = np.array(path) + shift + bounded_normal(rng, 4, 21).reshape(7, 3)
        self.stomach_radii = np.array([30.0, 32, 27, 22, 17, 12, 9]) * swell
        self.gall = place(50, 40, -30, spread=5)
        self.gall_size, self.gall_turn = math.exp(bounded_scalar(rng, 0.15)), rng.uniform(-0.4, 0.4, 3)
        path = [(36, 4, -46), (28, 10, -24), (2, 18, -10), (-26, 4, 0), (-52, -14, 10), (-74, -28, 18)]
        self.pancreas_path = np.array(path) + bounded_normal(rng, 6, 3) + bounded_normal(rng, 3, 18).reshape(6, 3)
        self.pancreas_radii = np.array([12.0, 15, 10, 12, 11, 9]) * math.exp(bounded_scalar(rng, 0.12))
        self.aorta_radius = rng.uniform(9, 12)
        self.cava_size = rng.uniform(10, 13), rng.uniform(7.5, 10)
        self.offsets = {"aorta": bounded_scalar(rng, 3), "cava": bounded_scalar(rng, 3)}
        self.liver_trees = self._grow_liver_trees(rng)
        shift = bounded_normal(rng, 6, 3)
        path = [
            (88, -5, -135), (96, -12, -95), (98, -8, -55), (80, 35, -52), (40, 62, -68), (-5, 66, -82), (-50, 58, -58),
            (-88, 12, -14), (-98, -14, -50), (-98, -14, -100), (-84, 6, -140), (-40, -10, -165), (0, -25, -180),
        ]  # fmt: skip
        self.colon_path = np.array(path) + shift + bounded_normal(rng, 6, 39).reshape(13, 3)
        self.colon_radii = rng.uniform(13, 22, 13)
        path = [(26, 32, -18), (46, 18, -26), (48, 4, -58), (30, -2, -74), (0, 2, -72), (-24, 8, -52)]
        self.duodenum = np.array(path) + bounded_normal(rng, 4, 18).reshape(6, 3)
        self.bladder = place(0, 18, -200), size(38, 30, 34)
        self.loop_width = rng.uniform(0.75, 1.0)

    def _grow_liver_trees(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Hepatic veins that drain upwards into the vena cava, and the portal vein that forks at the hilum."""
        branches = []
        crown = np.array([20.0, -20, 58])
        for direction in ((1.0, -0.2, -0.35), (0.5, 0.6, -0.5), (-0.5, 0.9, -0.3)):
            branches += vessel_tree(rng, crown, np.array(direction) + bounded_normal(rng, 0.15, 3), 36, 6.0, 3)
        hilum = np.array([30.0, 14, 8])
        for direction in ((1.0, -0.1, 0.25), (-0.4, 0.8, 0.5)):
            branches += vessel_tree(rng, hilum, np.array(direction) + bounded_normal(rng, 0.15, 3), 32, 6.5, 3)
        return [np.array(column) for column in zip(*branches, strict=True)]

    def layers(self, trunk: Trunk, back: np.ndarray) -> Iterator[Layer]:
        """Layers of the abdominal organs at the points of ``trunk``; ``back`` (M,) is y of the vertebrae there."""
        inside = np.flatnonzero(trunk.cavity < 6)
        index, p = trunk.index[inside], np.ascontiguousarray(trunk.points[:, inside])
        room = trunk.abdomen[inside] + 2
        lumps = self.lumps(p)[0] * np.float32(2.2)
        yield from self._bowel(index, p, trunk.abdomen[inside])
        yield from self._hollow(index, p, room, lumps)
        yield from self._left_upper(index, p, room, lumps)
        yield from self._liver(index, p, room, lumps)
        for kidney, name in zip(self.kidneys, ("right kidney", "left kidney"), strict=True):
            yield from self._kidney(index, p, room, lumps, kidney, LABEL_IDS[name])
        yield from self._vessels(index, p, back[inside])

    def _bowel(self, index: np.ndarray, p: np.ndarray, room: np.ndarray) -> Iterator[Layer]:
        """Small bowel (tubes around the common zeros of two random fields), colon and bladder."""
        x, y, z = p
        low = near(p, np.array([-130, -40, -260]), np.array([130, 110, 10]))
        q = p[:, low]
        loops = self.loops(q)
        tubes = (np.sqrt(np.einsum("in,in->n", loops, loops)) - self.loop_width) * 13
        zone = ellipsoid(q, np.array([0, 22, -100]), np.array([96, 62, 96]))
        zone = np.maximum(zone, room[low] + 3)
        small = np.maximum(tubes, zone)
        yield Layer("bowel wall", index[low], small)
        yield Layer("bowel content", index[low], small + 3, KEEP)
        colon = tube(q, self.colon_path, self.colon_radii) + 2.5 * np.abs(np.sin((q[0] + q[1] + q[2]) / 13)) - 1
        colon = np.maximum(colon, room[low] + 2)
        yield Layer("visceral fat", index[low], colon - 2)
        yield Layer("bowel wall", index[low], colon)
        yield Layer("stool", index[low], colon + 2.5, KEEP)
        yield Layer("gas", index[low], np.maximum(colon + 3, 22 - q[1]), KEEP)
        bladder = near(p, np.array([-60, -40, -260]), np.array([60, 80, -140]))
        full = np.maximum(ellipsoid(p[:, bladder], *self.bladder), room[bladder])
        yield Layer("muscle", index[bladder], full)
        yield Layer("urine", index[bladder], full + 3)

    def _hollow(self, index: np.ndarray, p: np.ndarray, room: np.ndarray, lumps: np.ndarray) -> Iterator[Layer]:
        """Duodenum, and stomach with wall, content and an air bubble under its front wall."""
        sel = near(p, np.array([-125, -80, -100]), np.array([85, 110, 115]))
        q, index, room = p[:, sel], index[sel], room[sel]
        duodenum = tube(q, self.duodenum, np.full(6, 11.0))
        yield Layer("bowel wall", index, duodenum)
        yield Layer("bowel content", index, duodenum + 3)
        stomach = np.maximum(tube(q, self.stomach_path, self.stomach_radii) + 0.8 * lumps[sel], room + 2)
        yield Layer("visceral fat", index, stomach - 3)
        yield Layer("stomach wall", index, stomach, LABEL_IDS["stomach"])
        yield Layer("stomach content", index, stomach + 5 + 0.8 * lumps[sel], KEEP)
        level = float(self.stomach_path[:, 1].max()) + 2
        yield Layer("gas", index, np.maximum(stomach + 5, level - q[1]), KEEP)

    def _liver(self, index: np.ndarray, p: np.ndarray, room: np.ndarray, lumps: np.ndarray) -> Iterator[Layer]:
        """Liver with its vessels, then the gall bladder."""
        sel = near(p, np.array([-90, -110, -120]), np.array([150, 110, 120]))
        q, index, room = p[:, sel], index[sel], room[sel]
        liver = smooth_union(ellipsoid(q, *self.liver_right), ellipsoid(q, *self.liver_left), 20)
        liver = smooth_union(liver, ellipsoid(q, *self.liver_tip), 16) + lumps[sel]
        hilum = ellipsoid(q, np.array([18, 0, -28]), np.array([40, 42, 34]))
        liver = np.maximum(np.maximum(liver, room), -hilum)
        spine = ellipsoid(q, np.array([0, -60, 30]), np.array([34, 52, 200]))
        liver = np.maximum(liver, -spine)
        yield Layer("liver", index, liver, LABEL_IDS["liver"])
        core = np.flatnonzero(liver < 0)
        vessels = segments(q[:, core], *self.liver_trees)
        yield Layer("venous blood", index[core], np.maximum(vessels, liver[core] + 3), KEEP)
        neck = self.gall + np.array([-6, -12, 20]) + 20 * self.gall_turn
        nodes = np.stack([self.gall, neck])
        gall = tube(q, nodes, np.array([16.0, 7.0]) * self.gall_size)
        gall = np.maximum(gall, room + 2)
        yield Layer("bowel wall", index, gall, LABEL_IDS["gall bladder"])
        yield Layer("bile", index, gall + 1.5, KEEP)

    def _left_upper(self, index: np.ndarray, p: np.ndarray, room: np.ndarray, lumps: np.ndarray) -> Iterator[Layer]:
        """Pancreas with the splenic and portal veins behind it, then the spleen."""
        sel = near(p, np.array([-140, -110, -80]), np.array([70, 60, 110]))
        q, index, room, lumps = p[:, sel], index[sel], room[sel], lumps[sel]
        pancreas = tube(q, self.pancreas_path, self.pancreas_radii) + 1.2 * lumps
        yield Layer("pancreas", index, np.maximum(pancreas, room), LABEL_IDS["pancreas"])
        course = self.pancreas_path[::-1] + np.array([2, -9, 2])
        portal = np.concatenate([course[:4], [[30.0, 12, 6]]])
        vein = tube(q, portal, np.array([3.0, 3.5, 4, 5, 6]))
        yield Layer("venous blood", index, np.maximum(vein, room), KEEP)
        spleen = np.maximum(ellipsoid(q, *self.spleen) + lumps, -ellipsoid(q, *self.spleen_hilum))
        spleen = np.maximum(spleen, room)
        yield Layer("visceral fat", index, spleen - 2, 0)
        yield Layer("spleen", index, spleen, LABEL_IDS["spleen"])

    def _kidney(
        self, index: np.ndarray, p: np.ndarray, room: np.ndarray, lumps: np.ndarray, model: Kidney, label: int
    ) -> Iterator[Layer]:
        """Cortex, medullary pyramids, and sinus fat with the renal pelvis that opens towards the spine."""
        centre, radii, turned, side = model
        sel = near(p, centre - 75, centre + 75)
        q, index = p[:, sel], index[sel]
        kidney = np.maximum(ellipsoid(q, centre, radii, turned) + 0.5 * lumps[sel], room[sel])
        yield Layer("visceral fat", index, kidney - 5, 0)
        hilum = ellipsoid(q, centre + turned @ np.array([-0.95 * side, 0.35, 0]) * radii[0], radii * 0.42, turned)
        kidney = np.maximum(kidney, -hilum)
        yield Layer("renal cortex", index, kidney, label)
        local = turned.T @ (q - centre.astype(np.float32)[:, None]) / radii.astype(np.float32)[:, None]
        around = np.arctan2(local[2], local[0] * side + np.float32(0.3))
        pyramids = (np.cos(around * 7) + np.cos(local[1] * 9)) * np.float32(4) - 2
        yield Layer("renal medulla", index, np.maximum(kidney + 7, -pyramids), KEEP)
        sinus = ellipsoid(q, centre - turned @ np.array([0.4 * side, 0, 0]) * radii[0], radii * 0.5, turned)
        yield Layer("visceral fat", index, np.maximum(sinus, kidney + 2), KEEP)
        pelvis = ellipsoid(q, centre - turned @ np.array([0.6 * side, 0, 0]) * radii[0], radii * 0.3, turned)
        yield Layer("urine", index, pelvis, KEEP)

    def _vessels(self, index: np.ndarray, p: np.ndarray, back: np.ndarray) -> Iterator[Layer]:
        """Renal and mesenteric vessels, vena cava and aorta with their forks."""
        sel = np.flatnonzero((np.abs(p[0]) < 80) & (p[1] > -70) & (p[1] < 50))
        q, index, back = p[:, sel], index[sel], back[sel]
        x, y, z = q
        for (centre, radii, _, side), drop in zip(self.kidneys, (0, 6), strict=True):
            gate = centre - np.array([side * radii[0] * 0.7, -4, 0])
            root = np.array([20.0 if side > 0 else -10.0, -24, centre[2] + 8 + drop])
            vein = tube(q, np.stack([root, gate]), np.array([5.0, 4.0]))
            yield Layer("venous blood", index, vein, KEEP)
        mesenteric = np.array([[2, 12, -8], [6, 20, -60], [14, 26, -110]], float)
        yield Layer("venous blood", index, tube(q, mesenteric, np.array([5.5, 5, 3])), KEEP)
        artery = np.array([[-8, -16, 4], [-8, 8, -12], [-6, 18, -60], [0, 24, -115]], float)
        yield Layer("arterial blood", index, tube(q, artery, np.array([4.0, 4, 3.5, 2.5])), KEEP)
        front = back + np.float32(18)
        split = np.clip((-95 - z) / 75, 0, 1)
        wide, deep = self.cava_size
        leave = np.clip((z - 20) / 60, 0, 1)
        for side in (-1, 1):
            dx = (x - 22 - self.offsets["cava"] + leave * 2) - side * split * 34 + split * 18
            dy = y - front - 10 - 14 * leave - 12 * split
            shrink = 1 - 0.25 * split
            cava = (np.sqrt((dx / (wide * shrink)) ** 2 + (dy / (deep * shrink)) ** 2) - 1) * (wide + deep) / 2
            cava = np.maximum(cava, z - 95)
            yield Layer("venous blood", index, cava, LABEL_IDS["inferior vena cava"])
        for side in (-1, 1):
            dx = x + 9 + self.offsets["aorta"] * (1 - split) - side * split * 42 - split * 9
            dy = y - front - 13 + 18 * np.clip((z - 80) / 60, 0, 1) - 16 * split
            radius = self.aorta_radius * (1 - 0.12 * np.clip((40 - z) / 130, 0, 1)) * (1 - 0.4 * split)
            aorta = np.sqrt(dx * dx + dy * dy) - radius
            yield Layer("arterial blood", index, aorta, LABEL_IDS["aorta"])
