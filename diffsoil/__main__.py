"""The program ``diffsoil``, also as ``python -m diffsoil``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command line; an interrupt while it is still being loaded ends it in one line."""
    try:
        from diffsoil import cli

        return cli.main()
    except KeyboardInterrupt:
        print("diffsoil: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    raise SystemExit(main())
