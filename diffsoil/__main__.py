"""``python -m diffsoil`` is the command ``diffsoil``."""

from diffsoil.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
