"""Pages as a browser shows them: nothing hangs out of the window or off the paper."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from calibration import fitting, saved_fit
from calibration.explore import KERNEL, explore_fit
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

PAGES = ("check", "fit", "prediction", "explore")

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
    searches = False

    def draw(self, problem, start, seed, checkpoints, report):
        rng = np.random.default_rng(seed)
        return Draws(start.mean + 0.3 * rng.standard_normal((2, 40, len(start.mean))))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The pages of a small case: its check, its fit, what that predicts, and its posterior."""
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
        explore_fit(places["fit"], folder / "explore.html")
        yield {name: place / "report.html" for name, place in places.items()} | {
            "explore": folder / "explore.html"
        }
    finally:
        METHODS._added.clear()


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


VISIT = """<script>
const part = id => document.getElementById(id), seen = [];
const look = () => seen.push({
  worth: part("worth").textContent,
  rows: [...document.querySelectorAll("#numbers tbody tr")].map(
    row => [...row.cells].map(cell => cell.textContent)),
  profile: document.querySelectorAll("#profile path.outer").length,
  value: part("value").getAttribute("aria-valuetext"),
});
const does = (id, value, event) => {
  part(id).value = value;
  part(id).dispatchEvent(new Event(event, { bubbles: true }));
  look();
};
look();
part("treatments").querySelectorAll("input")[0].click();
look();
does("parameter", PLACE, "change");
does("value", 20, "input");
does("value", 80, "input");
part("reset").click();
look();
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = JSON.stringify({ seen, faults });
</script>"""


def test_a_parameter_that_moves_takes_the_stock_along(
    pages: dict[str, Path], tmp_path: Path
) -> None:
    found = saved_fit.load(pages["fit"].parent)
    place = found.names.index("carbon.k_hum")
    rate = found.draws[:, place]
    topsoil = found.tree["posterior_predictive"]["topsoil"].sel(treatment="control")
    stock = topsoil.isel(year=-1).to_numpy().ravel()

    def expected(at: float) -> tuple[float, list[str]]:
        low, high = np.quantile(rate, [0.025, 0.975])
        far = (rate - low - at * (high - low)) / (KERNEL * rate.std())
        weight = np.exp(-0.5 * far**2)
        weight /= weight.sum()
        q = np.quantile(stock, [0.25, 0.75, 0.05, 0.95], weights=weight, method="inverted_cdf")
        bands = [f"{q[0]:#.3g} to {q[1]:#.3g}", f"{q[2]:#.3g} to {q[3]:#.3g}"]
        return 1 / (weight**2).sum(), [f"{weight @ stock:#.3g}", *bands, f"{stock.mean():#.3g}"]

    text = pages["explore"].read_text(encoding="utf-8")
    listen = "<script>const faults = []; onerror = text => faults.push(text);"
    listen += "console.error = console.warn = text => faults.push(text);</script></head>"
    page = tmp_path / "page.html"
    visit = VISIT.replace("PLACE", str(place))
    page.write_text(text.replace("</head>", listen).replace("</body>", f"{visit}</body>"))
    middle = np.quantile(rate, [0.025, 0.975]).mean()
    address = f"{page.as_uri()}#parameter=carbon.k_hum&value={middle}&treatment=manured"
    dumped = browse(tmp_path, "--dump-dom", address)
    shown = re.search(r"<pre>(.*)</pre>", dumped, re.S)
    assert shown, dumped[-300:]
    told = json.loads(unescape(shown[1]))
    assert told["faults"] == []
    first, both, _, slow, fast, last = told["seen"]
    assert [len(view["rows"]) for view in (first, both)] == [1, 2]  # the address says which
    assert [view["profile"] for view in (first, both)] == [1, 2]
    for view, at in ((both, 0.5), (slow, 0.2), (fast, 0.8)):
        worth, cells = expected(at)
        assert view["worth"] == f"{worth:.0f}"
        assert view["rows"][0][2:] == cells
    # whichever way: in these draws other parameters make up for a rate
    assert fast["rows"][0][2] != slow["rows"][0][2]
    assert (last["value"], last["worth"]) == ("whole posterior", str(len(found.draws)))
