"""Notes about the headers of many files."""

from __future__ import annotations

from pathlib import Path

from headers import nifti_file, straight_affine

from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.data.pair import ImageFiles


def test_each_file_once_and_images_labels_and_masks(tmp_path: Path) -> None:
    regular = nifti_file(tmp_path / "regular.nii", sform=straight_affine())
    odd = [nifti_file(tmp_path / f"{name}.nii", pixdim=[1, 1.5, 2, 0.8]) for name in ("image", "labels", "mask")]
    damaged = tmp_path / "damaged.nii"
    damaged.write_bytes(b"no header")
    files = [
        ImageFiles(regular),
        ImageFiles(odd[0], labels=odd[1], mask=odd[2]),
        ImageFiles(odd[0], labels=odd[1]),
        ImageFiles(damaged, labels=tmp_path / "missing.nii"),
    ]
    notes = header_notes(files)
    assert [note.split(": ")[0] for note in notes] == [str(path) for path in odd]
    assert header_notes([ImageFiles(regular)]) == []


def test_few_lines() -> None:
    assert notes_in_words([]) == []
    assert notes_in_words(["a: odd."]) == ["1 note about the headers of files:", "  a: odd."]
    many = [f"{name}: odd." for name in "abcde"]
    assert notes_in_words([*many, *many]) == [
        "5 notes about the headers of files, the first 3 of which are:",
        "  a: odd.",
        "  b: odd.",
        "  c: odd.",
    ]
