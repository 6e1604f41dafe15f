"""Pages as a browser shows them: nothing hangs out of the window or off the paper."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from calibration import fitting
from calibration.methods import METHODS
from calibration.methods.method import Method
from calibration.methods.posterior import Draws
from calibration.preview import check_case
from calibration.transfer import predict_case
from tests.test_calibration import observation, write_case

# NumPyro and optax mix float types inside
pytestmark = pytest.mark.mixed_types

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

PAGES = ("check", "fit", "prediction")

PAPER = 718
"""A4 within margins of 1 cm, in the pixels of a browser (96 an inch)."""

HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const text = PAGE;
const found = {};
function measure(name, width, printed) {
  return new Promise(done => {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px;height:900px;border:0`;
    frame.onload = () => {
      const page = frame.contentDocument;
      if (printed) for (const sheet of page.styleSheets)
        for (const rule of [...sheet.cssRules].filter(r => r.media?.mediaText === "print"))
        for (const own of [...rule.cssRules]) sheet.insertRule(own.cssText, sheet.cssRules.length);
      const root = page.documentElement;
      found[name] = {
        width: root.clientWidth,
        page: root.scrollWidth - root.clientWidth,
        tables: [...page.querySelectorAll(".wide")]
          .filter(box => box.scrollWidth > box.clientWidth)
          .map(box => `${box.scrollWidth}: ${box.querySelector("tr").innerText}`),
        pictures: [...page.images].filter(image => !image.naturalWidth).length,
        sections: page.querySelectorAll("section").length,
      };
      done();
    };
    frame.srcdoc = text;
    document.body.append(frame);
  });
}
measure("screen", 1280, false)
  .then(() => measure("telephone", 390, false))
  .then(() => measure("paper", PAPER, true))
  .then(() => { document.body.innerHTML = "<pre></pre>";
                document.querySelector("pre").textContent = JSON.stringify(found); });
</script>"""


def browse(folder: Path, *options: str) -> str:
    home = folder / "browser"
    asked = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}", *options]
    done = subprocess.run(
        [str(BROWSER), *asked],
        env=os.environ | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around(Method):
    """Draws around the defaults, without a search: pages show them like those of any method."""

    name = "around"
    description = "draws around the defaults"
    needs_gradients = False

    def draw(self, problem, start, seed, checkpoints, report):
        rng = np.random.default_rng(seed)
        return Draws(start.mean + 0.3 * rng.standard_normal((2, 40, len(start.mean))))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a small case: its check, its fit, and what that predicts."""
    if BROWSER is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is there")
    folder = tmp_path_factory.mktemp("pages")
    seen = [
        observation(year=year, treatment=treatment, value=value)
        for treatment, value in (("control", 30), ("manured", 33))
        for year in (1900, 1904, 1908, 1911)
    ]
    out = [observation(site="hill", treatment="cleared", year=y, series="hill", sd=2, value=60)
           for y in (1905, 1910)]  # fmt: skip
    case = write_case(folder, seen + out)
    places = {name: folder / name for name in PAGES}
    check_case(case, places["check"])
    METHODS.register("around", Around)
    try:
        fitting.calibrate_case(case, places["fit"], Around())
        predict_case(case, places["fit"], places["prediction"])
    finally:
        METHODS._added.clear()
    return {name: place / "report.html" for name, place in places.items()}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_screen_a_telephone_and_paper(
    pages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    text = json.dumps(pages[name].read_text(encoding="utf-8")).replace("</", "<\\/")
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.replace("PAGE;", f"{text};").replace("PAPER", str(PAPER)))
    dumped = browse(tmp_path, "--virtual-time-budget=20000", "--dump-dom", harness.as_uri())
    shown = re.search(r"<pre>(.*)</pre>", dumped, re.S)
    assert shown, dumped[-300:]
    found = json.loads(unescape(shown[1]))
    for where, width in (("screen", 1280), ("telephone", 390), ("paper", PAPER)):
        of = found[where]
        assert width - 20 <= of["width"] <= width
        assert of["page"] <= 0, where
        assert of["pictures"] == 0
        assert of["sections"] >= 4
    assert found["screen"]["tables"] == []
    assert found["paper"]["tables"] == []  # on a telephone they are pushed aside


def test_a_report_is_printed_on_pages(pages: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "report.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", pages["fit"].as_uri())
    count = len(re.findall(rb"/Type\s*/Page\b(?!s)", target.read_bytes()))
    assert 3 <= count <= 20
