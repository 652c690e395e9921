"""The page of features, read as a reader does: a click in one image finds the place in the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.feature_figures import FeaturePicture
from mmreg_lightning.reporting.feature_page import write_feature_page

SHAPE = (24, 20, 16)
AFFINE = np.array([[3.0, 0, 0, -30], [0, 3.0, 0, 20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
SHIFT = (2, -1, 1)  # feature voxels


def scenes(labels: bool = True) -> list[FeaturePicture]:
    """Two images whose features are the same noise, in the second one moved by ``SHIFT``."""
    torch.manual_seed(0)
    grid = Grid(SHAPE, AFFINE)
    features = torch.rand(5, 12, 10, 8)
    organ = torch.zeros(SHAPE, dtype=torch.long)
    organ[4:8] = 3
    found = []
    for name, own in (("MR <a>", features), ("CT b", features.roll(SHIFT, (1, 2, 3)))):
        image = torch.rand(SHAPE)
        shown = organ if labels else None
        found.append(FeaturePicture(name, image, grid, own, grid.pooled(2), torch.rand(3, 12, 10, 8), shown))
    return found


@pytest.fixture
def open_page(driver: Any, tmp_path: Path) -> Callable[[list[FeaturePicture]], Any]:
    from selenium.webdriver.support.wait import WebDriverWait

    def write_and_open(shown: list[FeaturePicture]) -> Any:
        path = tmp_path / "features.html"
        write_feature_page(path, shown, "a < b", ["A note."], {3: "liver"})
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(path.as_uri())
        wait = WebDriverWait(driver, 20, poll_frequency=0.05)
        wait.until(lambda _: numbers(driver, 0))
        return driver

    return write_and_open


def click_voxel(driver: Any, figure: str, across: tuple[int, int], up: tuple[int, int]) -> None:
    """Click on the middle of an image voxel, given as (index, number of voxels) along both axes of the plane."""
    from selenium.webdriver import ActionChains

    canvas = driver.find_element("css selector", f"#{figure} canvas")
    size = canvas.size["width"], canvas.size["height"]
    x, y = (((n - 1 - i + 0.5) / n - 0.5) * pixels for (i, n), pixels in zip((across, up), size, strict=True))
    ActionChains(driver).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()
    driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
    )


def numbers(driver: Any, scene: int) -> dict[str, str]:
    """What the page says about a scene, read in one step: a redraw replaces the elements."""
    script = "const texts = (tag) => Array.from(document.querySelectorAll(tag), (e) => e.innerText);"
    script += "return [texts(arguments[0] + ' dt'), texts(arguments[0] + ' dd')];"
    names, values = driver.execute_script(script, f"#numbers{scene}")
    return dict(zip(names, values, strict=True))


def world(feature_voxel: tuple[int, int, int]) -> str:
    """What the page says about the centre of a feature voxel."""
    place = (AFFINE @ [*(2 * n + 0.5 for n in feature_voxel), 1])[:3]
    return ", ".join(f"{ends[int(x < 0)]} {abs(x):.1f}" for ends, x in zip(("RL", "AP", "SI"), place, strict=True))


def test_a_click_finds_the_same_features_in_the_other_image(open_page: Callable[[list[FeaturePicture]], Any]) -> None:
    driver = open_page(scenes())
    assert driver.find_element("css selector", "h1").text == "a < b"
    # The axial plane first shows k = 8, feature voxel 4; click on feature voxel (3, 6).
    click_voxel(driver, "axial0", (6, 24), (12, 20))
    assert numbers(driver, 0)["label"] == "liver"
    match = numbers(driver, 1)
    assert match["best match, mm"] == world((3 + SHIFT[0], 6 + SHIFT[1], 4 + SHIFT[2]))
    assert match["distance of features"] == "0.000"
    # And back from the second image.
    click_voxel(driver, "coronal1", (16, 24), (11, 16))
    j = numbers(driver, 1)["point, mm"].split(", ")[1]
    assert j == world((8, 6 + SHIFT[1], 5)).split(", ")[1]
    assert numbers(driver, 0)["best match, mm"] == world((8 - SHIFT[0], 6, 5 - SHIFT[2]))


def test_every_mode_draws_something_else_and_nothing_is_fetched(
    open_page: Callable[[list[FeaturePicture]], Any],
) -> None:
    from selenium.webdriver.support.select import Select

    driver = open_page(scenes())
    seen = set()
    for mode in ("similarity", "image", "colours", "channel"):
        driver.find_element("css selector", f"input[value={mode}]").click()
        click_voxel(driver, "axial0", (6, 24), (12, 20))
        seen.add(driver.execute_script("return document.querySelector('#sagittal1 canvas').toDataURL();"))
    Select(driver.find_element("css selector", "#channel")).select_by_value("4")
    click_voxel(driver, "axial0", (6, 24), (12, 20))
    seen.add(driver.execute_script("return document.querySelector('#sagittal1 canvas').toDataURL();"))
    assert len(seen) == 5
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


def test_the_slider_moves_the_point_only_in_its_image(open_page: Callable[[list[FeaturePicture]], Any]) -> None:
    from selenium.webdriver import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    driver = open_page(scenes())
    click_voxel(driver, "axial0", (6, 24), (12, 20))
    before = numbers(driver, 0), numbers(driver, 1)
    # Another slice of the other image: the point and its match stay as they are.
    driver.find_element("css selector", "#axial1 input").send_keys(Keys.HOME)
    WebDriverWait(driver, 20).until(
        lambda _: "slice 1 of" in driver.find_element("css selector", "#axial1 output").text
    )
    assert (numbers(driver, 0), numbers(driver, 1)) == before
    # Another slice of its own image moves it, by two voxels into the next feature voxel.
    driver.find_element("css selector", "#axial0 input").send_keys(Keys.ARROW_RIGHT * 2)
    wanted = world((3 + SHIFT[0], 6 + SHIFT[1], 5 + SHIFT[2]))
    WebDriverWait(driver, 20).until(lambda _: numbers(driver, 1)["best match, mm"] == wanted)


def test_one_image_without_labels(open_page: Callable[[list[FeaturePicture]], Any]) -> None:
    driver = open_page(scenes(labels=False)[:1])
    click_voxel(driver, "axial0", (6, 24), (12, 20))
    assert numbers(driver, 0)["label"] == "–"
    assert not driver.find_element("css selector", "#follow").is_displayed()


def test_text_is_text(tmp_path: Path) -> None:
    evil = "</script><script>alert('{{data}}')</script>"
    write_feature_page(tmp_path / "a.html", scenes(), evil, [evil], {3: evil})
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and page.count("</script>") == 2
