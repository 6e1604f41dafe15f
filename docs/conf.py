"""How Sphinx builds the site (`make docs`). Nothing is fetched, when it is built or when read."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

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
    "check_site",
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
