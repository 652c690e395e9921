"""``mmreg-apply`` on what ``mmreg-register`` wrote."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import meshio
import nibabel as nib
import numpy as np
import pytest
from scenes import files_of, register_to
from scipy.spatial.transform import Rotation

from mmreg_lightning.cli._app import run
from mmreg_lightning.cli.apply import main
from mmreg_lightning.errors import UserError
from mmreg_lightning.io.fsl import write_flirt_matrix
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.transforms import read_affine


def apply(folder: Path, *words: object, transform: object = "out", inverse: bool = False) -> None:
    argv = ["--transform", str(folder / str(transform)), *(str(word) for word in words)]
    main([*argv, "--inverse"] if inverse else argv)


def points_csv(path: Path) -> Path:
    path.write_text("r,a,s,name\n0,5,-3,first\n12.5,-4,6,second\n-8,10,1,third\n", encoding="utf-8")
    return path


def read_rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_points_go_there_and_back_in_every_form(registered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = points_csv(registered / "p.csv")
    apply(registered, "--input", source, "--points-frame", "ras", "--out", registered / "q.csv")
    rows, moved = read_rows(source), read_rows(registered / "q.csv")
    assert [row[3] for row in moved] == [row[3] for row in rows] and moved[0] == rows[0]
    ras = np.array([row[:3] for row in rows[1:]], dtype=float)
    there = np.array([row[:3] for row in moved[1:]], dtype=float)
    assert np.linalg.norm(there - ras, axis=1).min() > 1
    assert "3 points of" in capsys.readouterr().out

    # CSV in LPS and in voxels, markups and a mesh tell the same
    flip = np.array([-1, -1, 1])
    (registered / "lps.csv").write_text("\n".join(",".join(map(str, row)) for row in ras * flip) + "\n")
    apply(registered, "--input", registered / "lps.csv", "--points-frame", "lps", "--out", registered / "lps_q.csv")
    np.testing.assert_allclose(np.loadtxt(registered / "lps_q.csv", delimiter=",") * flip, there, atol=1e-4)

    affines = {name: nib.load(registered / f"{name}.nii.gz").affine for name in ("f", "m")}
    voxels = nib.affines.apply_affine(np.linalg.inv(affines["f"]), ras)
    np.savetxt(registered / "vox.csv", voxels, delimiter=",")
    words = ["--points-image", registered / "f.nii.gz", "--reference", registered / "m.nii.gz"]
    apply(
        registered,
        "--input",
        registered / "vox.csv",
        "--points-frame",
        "voxel",
        *words,
        "--out",
        registered / "vox_q.csv",
    )
    got = nib.affines.apply_affine(affines["m"], np.loadtxt(registered / "vox_q.csv", delimiter=","))
    np.testing.assert_allclose(got, there, atol=1e-4)

    markups = {
        "@schema": "kept",
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "controlPoints": [{"id": str(n), "position": p.tolist()} for n, p in enumerate(ras * flip)]
                + [{"id": "undefined", "position": None}],
            }
        ],
    }
    (registered / "p.mrk.json").write_text(json.dumps(markups))
    apply(registered, "--input", registered / "p.mrk.json", "--out", registered / "q.mrk.json")
    written = json.loads((registered / "q.mrk.json").read_text(encoding="utf-8"))
    positions = [point["position"] for point in written["markups"][0]["controlPoints"]]
    assert positions[3] is None and written["@schema"] == "kept"
    np.testing.assert_allclose(np.array(positions[:3]) * flip, there, atol=1e-4)

    for suffix in ("ply", "vtk", "stl"):
        mesh = meshio.Mesh(ras * flip, [("triangle", np.array([[0, 1, 2]]))])
        mesh.write(registered / f"p.{suffix}")
        out = registered / f"q.{suffix}"
        apply(registered, "--input", registered / f"p.{suffix}", "--points-frame", "lps", "--out", out)
        with np.errstate(over="ignore"):  # meshio's look at a text file of triangles
            got = meshio.read(out)
        order = np.argsort(got.points[:, 0]), np.argsort((there * flip)[:, 0])
        np.testing.assert_allclose(got.points[order[0]], (there * flip)[order[1]], atol=1e-3)
        assert len(got.cells_dict["triangle"]) == 1

    apply(
        registered,
        "--input",
        registered / "q.csv",
        "--points-frame",
        "ras",
        "--out",
        registered / "r.csv",
        inverse=True,
    )
    back = np.array([row[:3] for row in read_rows(registered / "r.csv")[1:]], dtype=float)
    assert np.median(np.linalg.norm(back - ras, axis=1)) < 0.1


def test_a_chain_with_an_inverse_is_one_transform(registered: Path) -> None:
    source = points_csv(registered / "p.csv")
    there_and_back = ["out", "[{},1]".format(registered / "out" / "displacement.itk.nii.gz")]
    argv = ["--input", str(source), "--points-frame", "ras", "--out", str(registered / "q.csv")]
    main(["--transform", str(registered / there_and_back[0]), there_and_back[1], *argv])
    ras, got = (np.array([r[:3] for r in read_rows(p)[1:]], float) for p in (source, registered / "q.csv"))
    np.testing.assert_allclose(got, ras, atol=0.1)


def test_bad_input_is_one_sentence(registered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = points_csv(registered / "p.csv")
    (registered / "xyz.csv").write_text("x,y,z\n0,0,0\n")
    (registered / "words.csv").write_text("x,y,z\na,b,c\n")
    (registered / "none.csv").write_text("x,y,z\n")
    (registered / "nan.csv").write_text("nan,1,2\n0,5,-3\n")
    moving = nib.load(registered / "m.nii.gz")
    far = registered / "far.nii.gz"
    nib.save(nib.Nifti1Image(moving.get_fdata(dtype=np.float32), moving.affine + _shift(2000)), far)
    (registered / "no.mrk.json").write_text("{}")
    (registered / "no.ply").write_text("nonsense")
    (registered / "surface.vtk").write_text(
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 1 float\n0 0 0\n"
    )
    image, reference, labels = (registered / f"{name}.nii.gz" for name in ("m", "f", "m_labels"))
    (registered / "there.nii.gz").write_text("")
    frame = ["--points-frame", "ras"]
    cases: list[tuple[str, list[object], str]] = [
        ("reference must name the image", ["--input", image], "o.nii.gz"),
        ("must end in .nii", ["--input", image, "--reference", reference], "o.mha"),
        ("exists, name another file", ["--input", image, "--reference", reference], "there.nii.gz"),
        ("its points need a frame, points_frame=voxel", ["--input", registered / "xyz.csv"], "o.csv"),
        ("points_image must name", ["--input", registered / "xyz.csv", "--points-frame", "voxel"], "o.csv"),
        ("its header says ras, but lps is asked for", ["--input", points, "--points-frame", "lps"], "o.csv"),
        ("holds points, not an image", ["--input", points, *frame, "--fill", "0"], "o.csv"),
        ("which has no such value", ["--input", labels, "--reference", reference, "--fill", "1e6"], "o.nii.gz"),
        ("must be a label", ["--input", labels, "--reference", reference, "--fill", "-1", "--labels"], "o.nii.gz"),
        ("must be a finite number", ["--input", image, "--reference", reference, "--fill", "nan"], "o.nii.gz"),
        ("must end in .csv", ["--input", points, *frame], "o.ply"),
        ("are for points", ["--input", image, "--reference", reference, *frame], "o.nii.gz"),
        ("holds points, not a label map", ["--input", points, *frame, "--labels"], "o.csv"),
        ("row 2 has no three finite numbers", ["--input", registered / "words.csv", *frame], "o.csv"),
        ("row 1 has no three finite", ["--input", registered / "nan.csv", *frame], "o.csv"),
        ("is taken into it by the transform", ["--input", far, "--reference", reference], "o.nii.gz"),
        ("holds no points", ["--input", registered / "none.csv", *frame], "o.csv"),
        ("not a markups file", ["--input", registered / "no.mrk.json"], "o.mrk.json"),
        ("not a mesh that meshio reads", ["--input", registered / "no.ply", *frame], "o.ply"),
        ("save surfaces as .ply", ["--input", registered / "surface.vtk", *frame], "o.vtk"),
        ("there is no file", ["--input", registered / "nowhere.csv", *frame], "o.csv"),
    ]
    for expected, words, name in cases:
        with pytest.raises(SystemExit) as exit_info:
            run(lambda words=words, name=name: apply(registered, *words, "--out", registered / name))
        assert exit_info.value.code == 2
        out, err = capsys.readouterr()
        assert expected in err and err.count("\n") == 1 and out == ""
        assert name == "there.nii.gz" or not (registered / name).exists()
    for transform, expected in (("nowhere", "there is no file"), ("f.nii.gz", "is not a displacement field")):
        with pytest.raises(SystemExit):
            run(
                lambda t=transform: apply(
                    registered, "--input", points, *frame, "--out", registered / "o.csv", transform=t
                )
            )
        assert expected in capsys.readouterr().err


def test_points_outside_of_the_field_go_on_with_the_affine(
    registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = nib.load(registered / "f.nii.gz")
    corner = nib.affines.apply_affine(fixed.affine, np.array(fixed.shape) - 1.0)
    outward = np.sign(corner - nib.affines.apply_affine(fixed.affine, (np.array(fixed.shape) - 1) / 2))
    ras = np.stack([corner + distance * outward for distance in (0.0, 40.0, 5000.0)])
    np.savetxt(registered / "far.csv", ras, delimiter=",", header="r,a,s", comments="")
    apply(registered, "--input", registered / "far.csv", "--out", registered / "q.csv")
    there = np.loadtxt(registered / "q.csv", delimiter=",", skiprows=1)
    out = capsys.readouterr().out
    assert "Note: " in out and "2 of 3 points lie outside of the field of view of the transform" in out
    # The corner's own deformation, and from there the initial affine: 10 degrees about S.
    turn = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    np.testing.assert_allclose(there - there[0], (ras - ras[0]) @ turn.T, atol=0.05)
    argv = ["--input", registered / "q.csv", "--out", registered / "back.csv"]
    apply(registered, *argv, inverse=True)
    back = np.loadtxt(registered / "back.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(back, ras, atol=0.05)
    # The field alone does not know the initial affine: the closest one differs by the deformation.
    argv = ["--input", registered / "far.csv", "--out", registered / "alone.csv"]
    apply(registered, *argv, transform="out/displacement.itk.nii.gz")
    alone = np.loadtxt(registered / "alone.csv", delimiter=",", skiprows=1)
    assert 0 < np.linalg.norm(alone[1] - there[1]) < 3


def test_a_matrix_of_flirt_warps_like_the_affine_that_it_is(registered: Path) -> None:
    fixed, moving = registered / "f.nii.gz", registered / "m.nii.gz"
    layouts = [read_image(path).native for path in (fixed, moving)]
    write_flirt_matrix(read_affine(registered / "initial.tfm").matrix, *layouts, registered / "flirt.mat")
    for name, transform in (("itk", "initial.tfm"), ("fsl", "flirt.mat")):
        argv = ["--input", moving, "--reference", fixed, "--out", registered / f"{name}.nii.gz"]
        apply(registered, *argv, transform=transform)
        argv = ["--input", fixed, "--reference", moving, "--out", registered / f"{name}_back.nii.gz"]
        apply(registered, *argv, transform=transform, inverse=True)
    main(
        [
            *("--transform", f"[fsl:{registered / 'flirt.mat'},1]", "--input", str(fixed), "--reference", str(moving)),
            *("--out", str(registered / "fsl_one.nii.gz")),
        ]
    )
    for one, other in (("itk", "fsl"), ("itk_back", "fsl_back"), ("itk_back", "fsl_one")):
        images = [nib.load(registered / f"{name}.nii.gz").get_fdata() for name in (one, other)]
        assert np.abs(images[0] - images[1]).max() < 1e-2 and images[0].std() > 0.1
    with pytest.raises(UserError, match="a transform of FSL needs the images that FSL was given"):
        apply(
            registered,
            "--input",
            points_csv(registered / "p.csv"),
            "--out",
            registered / "q.csv",
            transform="flirt.mat",
        )


def test_our_own_warp_of_fsl_is_read_back(registered: Path) -> None:
    files = files_of(registered / "f.nii.gz", registered / "m.nii.gz")
    register_to(files, registered / "fsl", field_formats=("fsl",), overrides=["solver.iterations=5"])
    argv = [
        "--input",
        registered / "m.nii.gz",
        "--reference",
        registered / "f.nii.gz",
        "--out",
        registered / "w.nii.gz",
    ]
    apply(registered, *argv, transform="fsl/displacement.fsl.nii.gz")
    difference = nib.load(registered / "w.nii.gz").get_fdata() - nib.load(registered / "fsl/warped.nii.gz").get_fdata()
    assert np.mean(np.abs(difference) > 1e-2) < 1e-3


def _shift(millimetres: float) -> np.ndarray:
    out = np.zeros((4, 4))
    out[0, 3] = millimetres
    return out
