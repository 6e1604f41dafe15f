"""Directive ``run``: shell commands that are executed when the site is built, with what they print.

A page's commands run in the order in which they stand, in one folder, which begins as a copy of
the folder that the page names. A command that fails fails the build.

    ```{run}
    :from: field
    :lines: 12
    diffsoil simulate field.toml -o run.nc
    ```

Pictures that a command makes are at ``_run/PAGE/`` beside the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

BLOCK = re.compile(r"^```\{run\}\n((?::[^\n]*\n)*)(.*?)^```", flags=re.M | re.S)
"""A block of commands: options, then commands."""

SIDE_BY_SIDE = 2
"""Pages; as many as the smallest machine has cores."""

LONGEST = 900
"""Seconds of one block."""

PRINTED: dict[tuple[str, str], str] = {}
"""What was printed, by page and commands."""


class Run(SphinxDirective):
    """The commands, and below them what they printed."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "from": directives.unchanged,
        "lines": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        """Two blocks of text; the second one is cut where ``lines`` says so."""
        commands = "\n".join(self.content)
        shown = PRINTED[self.env.docname, commands].rstrip().splitlines()
        most = self.options.get("lines", len(shown))
        shown = [*shown[:most], "..."] if len(shown) > most else shown
        typed = nodes.literal_block(commands, commands, language="sh")
        if not most or not shown:
            return [typed]
        text = "\n".join(shown)
        return [typed, nodes.literal_block(text, text, language="text", classes=["printed"])]


def execute(page: Path, name: str) -> None:
    """Run all blocks of a page.

    Raises:
        ExtensionError: a command fails; the text has what it printed.
    """
    folder = page.parent / "_run" / page.stem
    shutil.rmtree(folder, ignore_errors=True)
    for options, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        source = re.search(r":from: (\S+)", options)
        if source:
            shutil.copytree(page.parent / source[1], folder, dirs_exist_ok=True)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env=os.environ | {"PATH": programs, "COLUMNS": "100", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if done.returncode:
            raise ExtensionError(f"{page}: failed: {block}{done.stdout}")
        printed = done.stdout.replace(f"{folder}{os.sep}", "")
        # what is compiled depends on what was run here before, and the cache is the machine's
        printed = re.sub(r"^diffsoil: compiling .*\n", "", printed, flags=re.M)
        PRINTED[name, block.rstrip("\n")] = printed


def execute_all(app: Sphinx) -> None:
    """Run the commands of all pages that have some, side by side."""
    names = [name for name in sorted(app.project.discover()) if "_run" not in name]
    pages = {name: Path(app.env.doc2path(name)) for name in names}
    pages = {n: page for n, page in pages.items() if BLOCK.search(page.read_text(encoding="utf-8"))}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for finished in [pool.submit(execute, page, name) for name, page in pages.items()]:
            finished.result()


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("run", Run)
    app.connect("builder-inited", execute_all)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
