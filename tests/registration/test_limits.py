"""What is refused before anything is computed, and whether the estimate of memory is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scenes import image_of

from mmreg_lightning.cli._app import run
from mmreg_lightning.cli.register import main
from mmreg_lightning.data.pair import Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.registration import limits
from mmreg_lightning.registration.limits import check_memory, check_working_size, needed_memory, search_spacing
from mmreg_lightning.runtime import peak_memory_mb, reset_peak_memory

MEASURED = """
import re, sys
from pathlib import Path

from mmreg_lightning.cli.register import main
from mmreg_lightning.registration import solve
from mmreg_lightning.registration.limits import needed_memory

def resident(key):
    return 2**10 * int(re.search(key + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

def check_memory(*given):
    print("estimate", *needed_memory(*given))
    print("images", resident("VmRSS"))

solve.check_memory = check_memory
main(sys.argv[1:])
print("peak", resident("VmHWM"))
"""
"""mmreg-register, which prints the estimate, and the resident size where it is made and at most."""


def noise_file(path: Path, shape: tuple[int, ...], spacing: float = 1.0) -> Path:
    array = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    affine = np.diag([spacing, spacing, spacing, 1])
    affine[: len(shape), 3] = -spacing * (np.array(shape) - 1) / 2
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((30, 30, 1), "has 30 x 30 x 1 voxels, 1 slice: a registration needs 4 voxels or more along every axis"),
        ((3, 30, 30), "has 3 x 30 x 30 voxels, 3 slices: a registration needs 4"),
        ((30, 30), r"must be a 3-D image, but its shape is (30, 30)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_slice_is_refused_by_name(shape, complaint, role, tmp_path, capsys):
    files = {"fixed": (30, 30, 30), "moving": (30, 30, 30)} | {role: shape}
    argv = [x for name, own in files.items() for x in (f"--{name}", str(noise_file(tmp_path / f"{name}.nii", own)))]
    with pytest.raises(SystemExit) as stop:
        run(lambda: main([*argv, "--out", str(tmp_path / "out")]))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"error: {tmp_path / role}.nii ") and complaint in error
    assert not (tmp_path / "out").exists()


def test_a_working_grid_must_fit_into_memory():
    check_working_size(Grid((512, 512, 512), np.eye(4)), 0.5)
    with pytest.raises(UserError) as error:
        check_working_size(Grid((512, 512, 520), np.eye(4)), 0.5)
    assert str(error.value) == "spacing=0.5: the working grid would have 512 x 512 x 520 voxels, choose a larger one"


def test_the_search_for_an_affine_is_as_coarse_as_the_larger_image_needs():
    small, body = Grid((100, 100, 100), np.diag([0.1, 0.1, 0.1, 1])), Grid((80, 80, 300), np.diag([6.0, 6, 6, 1]))
    assert search_spacing([small, small], 0.1) == 0.1
    assert search_spacing([small, small], [0.1, 0.2, 0.1]) == [0.1, 0.2, 0.1]
    coarse = search_spacing([small, body], 0.1)
    assert np.prod(body.resampled(coarse).shape) == pytest.approx(2**24, rel=0.02)
    uneven = search_spacing([small, body], [0.1, 0.2, 0.1])
    assert uneven[1] == pytest.approx(2 * uneven[0]) and uneven[0] == pytest.approx(uneven[2])
    assert np.prod(body.resampled(uneven).shape) == pytest.approx(2**24, rel=0.02)


@pytest.mark.parametrize(
    ("left", "complaint"),
    [
        (0, r"big.nii: the working grid of 16 x 16 x 16 voxels needs about 0.0 GB of memory, 0.0 GB are left; choose"),
        (10**8, r"big.nii \(64 x 64 x 64 voxels\) and small.nii \(8 x 8 x 8 voxels\): the results at full size need"),
    ],
)
def test_what_does_not_fit_is_refused(left, complaint, monkeypatch):
    big, small = (
        image_of(np.ones((n, n, n)), np.eye(4), path=f"{name}.nii") for n, name in ((64, "big"), (8, "small"))
    )
    working = Grid((16, 16, 16), np.diag([4.0, 4, 4, 1]))
    monkeypatch.setattr(limits, "available_memory", lambda: left)
    with pytest.raises(UserError, match=complaint):
        check_memory(Pair(big, small), working, 12, 2)
    for enough in (10**9, None):
        monkeypatch.setattr(limits, "available_memory", lambda enough=enough: enough)
        check_memory(Pair(big, small), working, 12, 2)


def test_memory_is_known_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 10**6)
    paths = [noise_file(tmp_path / name, (32, 32, 32)) for name in ("f.nii", "m.nii")]
    with pytest.raises(UserError, match=r"f.nii: the working grid of 32 x 32 x 32 voxels needs about"):
        main(["--fixed", str(paths[0]), "--moving", str(paths[1]), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
@pytest.mark.parametrize("shapes", [((180, 180, 160), (40, 40, 40)), ((40, 40, 40), (180, 180, 160))], ids=str)
def test_the_estimate_is_what_is_taken(shapes, tmp_path):
    paths = [noise_file(tmp_path / f"{n}.nii", shape, 160 / shape[2]) for n, shape in enumerate(shapes)]
    argv = ["--fixed", str(paths[0]), "--moving", str(paths[1]), "--out", str(tmp_path / "out"), "--spacing", "5"]
    script = [sys.executable, "-c", MEASURED, *argv, "--set", "solver.iterations=2"]
    printed = subprocess.run(script, capture_output=True, encoding="utf-8", check=True).stdout
    found = {key: re.search(rf"^{key} (.*)$", printed, re.MULTILINE)[1] for key in ("estimate", "images", "peak")}
    estimate, images, peak = (max(map(int, numbers.split())) for numbers in found.values())
    assert 0.5 * estimate < peak - images < 1.15 * estimate


def test_labels_the_moving_image_and_channels_count():
    array, working = np.ones((32, 32, 32)), Grid((32, 32, 32), np.eye(4))
    plain, labelled = image_of(array, np.eye(4)), image_of(array, np.eye(4), labels=array)
    large = image_of(np.ones((64, 64, 64)), np.eye(4))

    def needed(moving, channels=12):
        return needed_memory(Pair(plain, moving), working, channels, 2)

    assert needed(labelled)[1] > needed(plain)[1] and needed(labelled)[0] == needed(plain)[0]
    assert needed(large)[1] >= 64**3 * 40
    assert needed(plain, 64)[0] > needed(plain, 16)[0] == needed(plain)[0]


@pytest.mark.slow
@pytest.mark.skipif(not reset_peak_memory(), reason="the system does not forget the peak")
@pytest.mark.parametrize("affine", ["none", "rigid"])
def test_images_of_unlike_sizes(affine, tmp_path, monkeypatch):
    # 20 mm of 0.2 mm voxels and half a metre of 6 mm: on a common grid of the finer ones it would be 80 GB.
    sizes = {"fine.nii": ((100, 100, 100), 0.2), "coarse.nii": ((70, 60, 80), 6.0)}
    paths = [str(noise_file(tmp_path / name, *size)) for name, size in sizes.items()]
    monkeypatch.setattr(limits, "MAX_SEARCH_VOXELS", 2**18)
    reset_peak_memory()
    before = peak_memory_mb()
    for fixed, moving in (paths, paths[::-1]):
        out = tmp_path / Path(fixed).stem
        main(["--fixed", fixed, "--moving", moving, "--affine", affine, "--out", str(out)])
        assert (out / "metrics.json").is_file()
    assert peak_memory_mb() - before < 700
