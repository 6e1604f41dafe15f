"""Checks of the built pages: they load nothing from a network, and their links lead somewhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

ELSEWHERE = re.compile(r"(?:[a-z]+:)?//|[a-z]+:", flags=re.I)
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that make a browser load something."""

IN_A_STYLE = re.compile(r"(?:@import\s+|url\()\s*(?:url\()?[\"']?(?:https?:)?//", flags=re.I)


@functools.cache
def page(path: Path) -> BeautifulSoup:
    """A built page."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def places(path: Path) -> frozenset[str]:
    """What a link may point to within a page."""
    return frozenset(element["id"] for element in page(path).find_all(id=True))


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a page."""
    for name, attribute in LOADED.items():
        for element in page(path).find_all(name, attrs={attribute: True}):
            address = element[attribute]
            if ELSEWHERE.match(address) and not address.startswith("data:"):
                yield f"loads {address}"
            elif not (path.parent / address.split("?")[0].split("#")[0]).exists():
                yield f"lacks {address}"
    for element in page(path).find_all("a", href=True):
        address = element["href"]
        target, _, place = address.partition("#")
        if ELSEWHERE.match(address) or address == "#":
            continue
        there = (path.parent / target).resolve() if target else path
        if not there.exists() or (place and there.suffix == ".html" and place not in places(there)):
            yield f"links to {address}, which is not there"


def check(app: Sphinx, error: Exception | None) -> None:
    """Fail where a page has a fault.

    Raises:
        RuntimeError: all faults, by page.
    """
    if error is not None or app.builder.name != "html":
        return
    site = Path(app.outdir)
    found = [f"{at.name}: {fault}" for at in sorted(site.rglob("*.html")) for fault in faults(at)]
    styles = [at for at in sorted(site.rglob("*.css")) if IN_A_STYLE.search(at.read_text("utf-8"))]
    found += [f"{at.name}: loads something from a network" for at in styles]
    if found:
        raise RuntimeError("\n".join(["the site has faults:", *found]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the checks."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
