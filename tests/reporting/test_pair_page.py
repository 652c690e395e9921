from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.pair_figure import FIXED_MASK_COLOUR, MOVING_MASK_COLOUR, PairPicture
from mmreg_lightning.reporting.pair_page import write_page

SHAPE = (24, 20, 16)
SPACING = 3.0
AFFINE = np.array([[SPACING, 0, 0, -30], [0, SPACING, 0, 20], [0, 0, SPACING, 5], [0, 0, 0, 1]])
GRID = Grid(SHAPE, AFFINE)


def ramp(axis: int, step: int) -> torch.Tensor:
    """Grey value ``step`` times the index along an axis, so that a plane across that axis has one colour."""
    view = [-1 if a == axis else 1 for a in range(3)]
    return (torch.arange(SHAPE[axis]) * step / 255).view(view).expand(SHAPE).clone()


@pytest.fixture
def picture() -> PairPicture:
    """Fixed, moving and warped rise along I, J and K; the displacement is smooth but for a fold."""
    torch.manual_seed(0)
    labels = torch.zeros(SHAPE, dtype=torch.long)
    labels[4:12, 5:15, 3:9] = 1
    labels[14:20, 5:15, 3:9] = 700
    moved = labels.roll(2, dims=0)
    moved[0, 0, 0] = -3
    shift = torch.zeros(3, 12, 10, 8)
    shift[0] = torch.linspace(-6, 6, 12).view(12, 1, 1)
    shift[1] = 1.5
    shift[2, 6, 5, 4] = -40
    return PairPicture(
        fixed=ramp(0, 10),
        moving=ramp(1, 12),
        warped=ramp(2, 15),
        spacing=(SPACING,) * 3,
        displacement=shift,
        displacement_spacing=(6.0,) * 3,
        fixed_features=torch.rand(4, 6, 5, 4),
        warped_features=torch.rand(4, 6, 5, 4),
        feature_spacing=(12.0,) * 3,
        fixed_labels=labels,
        moving_labels=labels,
        warped_labels=moved,
    )


def without_labels(picture: PairPicture) -> PairPicture:
    return dataclasses.replace(picture, fixed_labels=None, moving_labels=None, warped_labels=None)


def with_masks(picture: PairPicture) -> PairPicture:
    """The lower half, and for the moving image all but its border."""
    fixed, moving = (torch.zeros(SHAPE, dtype=torch.bool) for _ in range(2))
    fixed[:, :, :9] = True
    moving[2:-2, 2:-2, 2:-2] = True
    return dataclasses.replace(picture, fixed_mask=fixed, moving_mask=moving, warped_mask=moving.roll(1, dims=0))


def held_by(path: Path) -> dict[str, Any]:
    """What the page's script would find, its arrays unpacked."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert match is not None
    data: dict[str, Any] = json.loads(match[1])
    for volume in data["volumes"].values():
        differences = np.frombuffer(zlib.decompress(base64.b64decode(volume["data"])), volume["type"])
        volume["array"] = np.cumsum(differences, dtype=differences.dtype).reshape(volume["shape"])
    return data


def test_a_page_holds_what_was_put_in(picture: PairPicture, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, picture, GRID, "a title", [], label_names={1: "liver"})
    data = held_by(path)
    arrays = {name: volume["array"] for name, volume in data["volumes"].items()}
    assert data["shape"] == list(SHAPE) and data["spacing"] == SPACING
    assert np.allclose(data["center"], GRID.center) and np.allclose(data["direction"], np.eye(3))
    assert np.allclose(data["focus"], picture.focus())
    for name, image in (("fixed", picture.fixed), ("before", picture.moving), ("after", picture.warped)):
        assert np.array_equal(arrays[name], (image * 255).round().numpy())
    assert data["labels"] == ["", "label -3", "liver", "label 700"]
    ids = np.array([0, -3, 1, 700])
    assert picture.fixed_labels is not None and picture.warped_labels is not None
    assert np.array_equal(ids[arrays["fixed_labels"]], picture.fixed_labels)
    assert np.array_equal(ids[arrays["after_labels"]], picture.warped_labels)
    displacement = data["volumes"]["displacement"]
    assert np.allclose(arrays["displacement"] * displacement["step"], picture.displacement, atol=0.051)
    assert displacement["spacing"] == [6.0, 6.0, 6.0]
    expected = jacobian_determinant(picture.displacement[None].double() / 6)[0, 0].numpy()
    folds = expected <= 0
    assert folds.any() and np.array_equal(arrays["jacobian"] == 0, folds)
    decoded = 2 ** ((arrays["jacobian"][~folds].astype(float) - 128) / 127 * data["octaves"])
    assert np.allclose(decoded, expected[~folds].clip(1 / 16, 16), rtol=0.012)
    for name, colours in zip(("fixed_colours", "after_colours"), picture.colours, strict=True):
        assert np.abs(arrays[name] / 255 - colours.numpy()).max() <= 0.5 / 255 + 1e-6


def test_voxels_are_cubes_whatever_the_spacing(picture: PairPicture, tmp_path: Path) -> None:
    flat = dataclasses.replace(without_labels(picture), spacing=(1.5, 3.0, 6.0))
    write_page(tmp_path / "page.html", flat, Grid(SHAPE, np.diag([1.5, 3.0, 6.0, 1.0])), "", [])
    data = held_by(tmp_path / "page.html")
    assert data["spacing"] == 1.5 and data["shape"] == [24, 40, 64]
    # Fixed rises along I, whose voxels stay as they are.
    assert np.array_equal(data["volumes"]["fixed"]["array"][:, 17, 31], np.arange(24) * 10)


def test_a_fold_is_not_averaged_away(picture: PairPicture, tmp_path: Path) -> None:
    displacement = torch.zeros(3, 160, 4, 4)
    displacement[0, 80, 2, 2] = -5
    fine = dataclasses.replace(
        without_labels(picture), displacement=displacement, displacement_spacing=(0.45, 15.0, 12.0)
    )
    write_page(tmp_path / "page.html", fine, GRID, "", [])
    codes = held_by(tmp_path / "page.html")["volumes"]["jacobian"]
    assert codes["shape"] == [64, 4, 4] and codes["spacing"] == pytest.approx([1.125, 15, 12])
    assert (codes["array"] == 0).any()


def test_text_is_text(picture: PairPicture, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    evil = "<script>alert('{{data}}')</script>&"
    table = (evil, [["", evil], [evil, evil]])
    write_page(path, picture, GRID, evil, [table], [evil], {1: "</script>" + evil})
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert page.count("</script>") == 2  # the data and the program, as in the template
    assert held_by(path)["labels"][2] == "</script>" + evil


def test_labels_may_be_absent(picture: PairPicture, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", without_labels(picture), GRID, "", [])
    data = held_by(tmp_path / "page.html")
    assert data["labels"] == [""]
    assert not [name for name in data["volumes"] if name.endswith("_labels")]


def test_masks_are_held_where_there_are_any(picture: PairPicture, tmp_path: Path) -> None:
    masked = with_masks(picture)
    write_page(tmp_path / "page.html", masked, GRID, "", [])
    data = held_by(tmp_path / "page.html")
    shown = {"fixed_mask": masked.fixed_mask, "before_mask": masked.moving_mask, "after_mask": masked.warped_mask}
    for name, mask in shown.items():
        assert np.array_equal(data["volumes"][name]["array"], mask), name
    assert "label 1" in data["labels"] and len(data["labels"]) == 4, "a mask is no organ"
    write_page(tmp_path / "page.html", dataclasses.replace(masked, fixed_mask=None), GRID, "", [])
    assert set(shown) & set(held_by(tmp_path / "page.html")["volumes"]) == {"before_mask", "after_mask"}
    write_page(tmp_path / "page.html", picture, GRID, "", [])
    assert not set(shown) & set(held_by(tmp_path / "page.html")["volumes"])


def test_more_labels_than_a_byte_can_tell_apart(picture: PairPicture, tmp_path: Path) -> None:
    labels = torch.arange(np.prod(SHAPE)).view(SHAPE) % 1000
    many = dataclasses.replace(picture, fixed_labels=labels, moving_labels=labels, warped_labels=labels)
    write_page(tmp_path / "page.html", many, GRID, "", [])
    assert np.array_equal(held_by(tmp_path / "page.html")["volumes"]["fixed_labels"]["array"], labels)


def test_images_must_be_on_the_grid(picture: PairPicture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on a grid of shape"):
        write_page(tmp_path / "page.html", picture, Grid((24, 20, 17), AFFINE), "", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("noise", "limit"), [(False, 6e6), (True, 9.5e6)], ids=["smooth", "noise"])
def test_the_file_stays_small(noise: bool, limit: float, tmp_path: Path) -> None:
    def volume(*shape: int) -> torch.Tensor:
        coarse = torch.rand(shape if noise else (shape[0], *(n // 4 for n in shape[1:])))
        return torch.nn.functional.interpolate(coarse[None], size=shape[-3:], mode="trilinear")[0]

    shape = (150, 120, 130)
    large = PairPicture(
        *(volume(1, *shape)[0] for _ in range(3)),
        spacing=(2.0,) * 3,
        displacement=30 * volume(3, 75, 60, 65),
        displacement_spacing=(4.0,) * 3,
        fixed_features=volume(3, 75, 60, 65),
        warped_features=volume(3, 75, 60, 65),
        feature_spacing=(4.0,) * 3,
    )
    write_page(tmp_path / "page.html", large, Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0])), "", [])
    assert max(held_by(tmp_path / "page.html")["shape"]) <= 128
    assert (tmp_path / "page.html").stat().st_size < limit


class Page:
    """An open page, as a reader has it: what can be seen, and a mouse."""

    def __init__(self, driver: Any, path: Path) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        self.driver = driver
        self.wait = WebDriverWait(driver, 20, poll_frequency=0.05).until
        driver.get_log("browser"), driver.get_log("performance")
        self.url = path.as_uri()
        driver.get(self.url)
        self.wait(lambda _: self.find("#axial output") and self.text("position"))

    def find(self, selector: str) -> Any:
        elements = self.driver.find_elements("css selector", selector)
        return elements[0] if elements else None

    def text(self, name: str) -> str:
        return str(self.find(f"#{name}").text)

    def click_voxel(self, view: str, across: tuple[int, int], up: tuple[int, int]) -> None:
        """Click on the middle of a voxel of a plane, given as (index, number of voxels) along both of its axes."""
        from selenium.webdriver import ActionChains

        canvas = self.find(f"#{view} canvas")
        size = canvas.size["width"], canvas.size["height"]
        # Both axes rise against the coordinates of the screen.
        x, y = (((n - 1 - i + 0.5) / n - 0.5) * pixels for (i, n), pixels in zip((across, up), size, strict=True))
        ActionChains(self.driver).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()

    def choose(self, selector: str) -> None:
        self.find(selector).click()
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def pixels(self, view: str) -> NDArray[np.uint8]:
        """(height, width, 4) of a plane."""
        raw = self.driver.execute_script(
            "const c = document.querySelector(arguments[0]);"
            "const bytes = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let text = '';"
            "for (const b of bytes) text += String.fromCharCode(b); return [c.height, c.width, btoa(text)];",
            f"#{view} canvas",
        )
        return np.frombuffer(base64.b64decode(raw[2]), np.uint8).reshape(raw[0], raw[1], 4)

    def colour(self, view: str) -> list[int]:
        """Of a place near the lower right corner, away from letters, scale and the crosshairs of these tests."""
        pixels = self.pixels(view)
        return pixels[int(0.85 * len(pixels)), int(0.85 * pixels.shape[1]), :3].tolist()


@pytest.fixture
def open_page(driver: Any, tmp_path: Path) -> Callable[[PairPicture], Page]:
    def write_and_open(picture: PairPicture) -> Page:
        write_page(
            tmp_path / "page.html",
            picture,
            GRID,
            "moving <1> & fixed",
            [("Measures", [["", "before", "after"], ["Dice", "0.5", "0.7"]])],
            ["A note."],
            {1: "liver"},
        )
        return Page(driver, tmp_path / "page.html")

    return write_and_open


def position(i: int, j: int, k: int) -> str:
    """What the page says about a voxel: its place in the world."""
    world = (AFFINE @ [i, j, k, 1])[:3]
    return ", ".join(f"{ends[int(x < 0)]} {abs(x):.1f}" for ends, x in zip(("RL", "AP", "SI"), world, strict=True))


def test_planes_follow_a_click(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    page = open_page(without_labels(picture))
    assert page.find("h1").text == "moving <1> & fixed"
    page.choose('input[value="fixed"]')  # a sagittal plane has the colour of its i
    page.click_voxel("axial", (6, 24), (15, 20))
    page.settle()
    k = 8  # the middle, where the planes cross at first
    assert page.text("position") == position(6, 15, k)
    assert page.find("#sagittal output").text == "slice 7 of 24"
    assert page.find("#coronal output").text == "slice 16 of 20"
    assert page.colour("sagittal") == [60, 60, 60]
    page.choose('input[value="before"]')  # a coronal plane has the colour of its j
    assert page.colour("coronal") == [180, 180, 180]
    page.choose('input[value="after"]')  # an axial plane has the colour of its k
    assert page.colour("axial") == [15 * k] * 3
    page.click_voxel("coronal", (18, 24), (3, 16))
    page.settle()
    assert page.text("position") == position(18, 15, 3)
    assert page.colour("axial") == [45, 45, 45]
    page.click_voxel("sagittal", (4, 20), (12, 16))
    page.settle()
    assert page.text("position") == position(18, 4, 12)
    assert page.colour("axial") == [180, 180, 180]


def test_keys_and_sliders_move_the_crosshair(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    from selenium.webdriver import Keys

    page = open_page(without_labels(picture))
    page.click_voxel("axial", (6, 24), (15, 20))
    canvas = page.find("#axial canvas")
    # The left of the screen is the patient's right, where I rises.
    keys = {
        Keys.ARROW_LEFT: (7, 15, 8),
        Keys.ARROW_UP: (7, 16, 8),
        Keys.PAGE_UP: (7, 16, 9),
        Keys.ARROW_RIGHT: (6, 16, 9),
        Keys.ARROW_DOWN: (6, 15, 9),
        Keys.PAGE_DOWN: (6, 15, 8),
        Keys.ARROW_UP * 9: (6, 19, 8),  # not beyond the last voxel
    }
    for key, voxel in keys.items():
        canvas.send_keys(key)
        page.settle()
        assert page.text("position") == position(*voxel)
    page.find("#sagittal input").send_keys(Keys.HOME)
    page.settle()
    assert page.text("position") == position(0, 19, 8)
    assert page.find("#sagittal output").text == "slice 1 of 24"


def test_right_is_on_the_left_and_up_is_up(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    page = open_page(without_labels(picture))
    page.choose('input[value="fixed"]')
    axial = page.pixels("axial")[:, :, 0]
    row = axial[int(0.2 * len(axial)), [int(p * axial.shape[1]) for p in (0.15, 0.35, 0.65, 0.85)]].astype(int)
    assert (np.diff(row) < -20).all()  # fixed rises to the patient's right
    page.choose('input[value="after"]')
    coronal = page.pixels("coronal")[:, :, 0]
    column = coronal[[int(p * len(coronal)) for p in (0.15, 0.35, 0.65, 0.85)], int(0.7 * coronal.shape[1])].astype(int)
    assert (np.diff(column) < -20).all()  # warped rises towards the head
    height, width = coronal.shape
    assert width / height == pytest.approx(24 / 16, rel=0.01)


def test_controls_change_the_pictures(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.support.select import Select

    page = open_page(picture)
    assert page.text("fixed_label") in ("liver", "label 700", "none")
    seen = [page.pixels("axial")]

    def changed() -> bool:
        """Whether the axial plane is another than when this was asked last."""
        seen.append(page.pixels("axial"))
        return not np.array_equal(seen[-1], seen[-2])

    for value in ("fixed", "before", "blend", "checkerboard", "fixed_colours", "after_colours"):
        page.choose(f'input[value="{value}"]')
        assert changed(), value
    assert len({pixels.tobytes() for pixels in seen}) == 7
    page.choose('input[value="checkerboard"]')
    assert page.find('input[name="moved"][value="after"]').is_selected() and changed()
    page.choose('input[name="moved"][value="before"]')
    assert changed()
    page.choose('input[value="blend"]')
    assert changed()
    page.find("#blend").send_keys(Keys.ARROW_RIGHT * 9)
    page.settle()
    assert page.text("blend_value") == "59 %" and changed()
    for overlay in ("fixed_outlines", "moving_outlines", "grid", "crosshair"):
        page.choose(f"#{overlay}")
        assert changed(), overlay
    for kind in ("jacobian", "displacement"):
        Select(page.find("#map")).select_by_value(kind)
        page.settle()
        assert changed() and page.find("#bar").is_displayed(), kind
    canvas = page.find("#axial canvas")
    before = page.find("#axial output").text
    ActionChains(page.driver).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 120).perform()
    page.wait(lambda _: page.find("#axial output").text != before)
    canvas.send_keys(Keys.PAGE_UP)
    page.wait(lambda _: page.find("#axial output").text == before)
    canvas.send_keys("2")
    page.wait(lambda _: page.find('input[name="mode"][value="before"]').is_selected())
    canvas.send_keys("b")
    page.wait(lambda _: page.find('input[name="mode"][value="after"]').is_selected())


def has_colour(pixels: NDArray[np.uint8], colour: str) -> bool:
    """Whether a plane shows a colour, as "#CC79A7"; the middle of a line is as it was asked for."""
    rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return bool((np.abs(pixels[..., :3].astype(int) - rgb).max(axis=-1) < 12).any())


def test_masks_are_outlined_by_their_boxes(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    page = open_page(with_masks(without_labels(picture)))
    page.choose("#crosshair")
    boxes = {"fixed_mask_outline": FIXED_MASK_COLOUR, "moving_mask_outline": MOVING_MASK_COLOUR}
    for box, colour in boxes.items():
        assert page.find(f"#{box}").is_selected() and has_colour(page.pixels("coronal"), colour), box
    # The upper border of the fixed mask lies between the slices 8 and 9 of 16: no line in the axial plane.
    assert not has_colour(page.pixels("axial"), FIXED_MASK_COLOUR)
    page.choose('input[name="moved"][value="before"]')
    before = page.pixels("coronal")
    page.choose('input[value="fixed"]')
    assert page.find('input[name="moved"][value="before"]').is_selected()
    fixed = page.pixels("coronal")
    page.choose('input[name="moved"][value="after"]')
    assert not np.array_equal(page.pixels("coronal"), fixed), "the mask moves with its image"
    assert has_colour(before, MOVING_MASK_COLOUR)
    for box, colour in boxes.items():
        page.choose(f"#{box}")
        assert not has_colour(page.pixels("coronal"), colour), box


@pytest.mark.parametrize(("hidden", "shown"), [("fixed", "moving"), ("moving", "fixed")])
def test_a_mask_that_is_not_there_has_no_box(
    open_page: Callable[[PairPicture], Page], picture: PairPicture, hidden: str, shown: str
) -> None:
    masked = with_masks(picture)
    without: dict[str, Any] = {"fixed_mask": None} if hidden == "fixed" else {"moving_mask": None, "warped_mask": None}
    page = open_page(dataclasses.replace(masked, **without))
    assert page.find(f"#{shown}_mask_outline").is_displayed()
    assert not page.find(f"#{hidden}_mask_outline").is_displayed()


def test_a_fold_is_marked(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    from selenium.webdriver.support.select import Select

    page = open_page(without_labels(picture))
    Select(page.find("#map")).select_by_value("jacobian")
    # Voxel (6, 5, 3) of 12 x 10 x 8 folds; it spans the shown voxels 12-13, 10-11 and 6-7.
    page.click_voxel("coronal", (13, 24), (6, 16))
    page.click_voxel("axial", (13, 24), (11, 20))
    page.settle()
    assert page.text("jacobian") == "0 or less: fold"
    yellow = (page.pixels("axial")[..., :3] == [240, 228, 66]).all(axis=-1)
    assert yellow.mean() == pytest.approx(1 / 120, rel=0.3)
    rows, columns = (places.mean() / n for places, n in zip(yellow.nonzero(), yellow.shape, strict=True))
    assert (rows, columns) == pytest.approx((4.5 / 10, 5.5 / 12), abs=0.01)


def test_nothing_is_fetched_and_nothing_fails(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    page = open_page(picture)
    for mode in page.driver.find_elements("css selector", 'input[name="mode"]'):
        mode.click()
    page.settle()
    assert page.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert page.url in asked
    assert not [url for url in asked if url != page.url and not url.startswith("data:")]


def test_without_labels_nothing_asks_for_them(open_page: Callable[[PairPicture], Page], picture: PairPicture) -> None:
    page = open_page(without_labels(picture))
    for name in ("fixed_outlines", "moving_outlines", "fixed_label", "moving_label"):
        assert not page.find(f"#{name}").is_displayed(), name
    assert page.find("#grid").is_displayed()


@pytest.mark.parametrize("width", [1280, 640])
def test_the_page_fits_the_window(open_page: Callable[[PairPicture], Page], picture: PairPicture, width: int) -> None:
    page = open_page(picture)
    page.driver.set_window_size(width, 900)
    try:
        page.settle()
        page.wait(
            lambda driver: driver.execute_script(
                "return document.documentElement.scrollWidth <= innerWidth && innerWidth <= arguments[0]", width
            )
        )
    finally:
        page.driver.set_window_size(1280, 900)
