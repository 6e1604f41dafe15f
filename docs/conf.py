"""How Sphinx builds the site (`make docs`). Nothing is fetched, when it is built or when read."""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions")]

os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "diffsoil"
author = "The diffsoil authors"
release = metadata.version("diffsoil")

extensions = [
    "cyclopts.ext.sphinx",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "reference",
    "run",
]
exclude_patterns = ["**/_run/**", "_extensions"]

highlight_language = "none"  # an indented block is what is typed in a shell

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # what a value is stands in its docstring, with shape and unit
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"diffsoil {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"'](?:https?:)?//"
    r"|<link\b(?=[^>]*rel=[\"'](?:stylesheet|preload|icon|preconnect))[^>]*href=[\"'](?:https?:)?//"
    r"|@import\s+(?:url\()?[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//",
    flags=re.I,
)
"""What makes a browser load something from a network."""


def refuse_network(app: Any, error: Exception | None) -> None:
    """Fail where a page or a style would load something from a network."""
    if error is not None or app.builder.name != "html":
        return
    found = [
        path.relative_to(app.outdir)
        for path in sorted(Path(app.outdir).rglob("*"))
        if path.suffix in (".html", ".css") and FETCHED.search(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise RuntimeError(f"pages that load something from a network: {found}")


def setup(app: Any) -> None:
    """Add the check."""
    app.connect("build-finished", refuse_network)
