"""What a case costs, measured in a process of its own."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPEATS = 5


class Cost(NamedTuple):
    """Cost of one run of a case.

    Attributes:
        compile_s: seconds to compile it, with nothing in the cache.
        run_s: seconds of a run after that, the median of several.
        memory_mb: largest memory of the process.
        temporary_mb: what the compiled program itself asks for.
    """

    compile_s: float
    run_s: float
    memory_mb: float
    temporary_mb: float


def measure(path: Path, text: str, targets: list[str]) -> Cost:
    """Compile and run a case in a fresh process.

    Args:
        path: of the case; files are looked for beside it.
        text: of the case.
        targets: what is recorded.
    """
    given = json.dumps({"path": str(path), "text": text, "targets": targets})
    done = subprocess.run(
        [sys.executable, "-c", "from sensitivity.pruning.cost import main; main()"],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{path}: its cost cannot be measured: {done.stderr.strip()[-500:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def peak_mb() -> float:
    """Largest memory of this process so far, MB.

    On Linux not by ``getrusage``: there a new process begins with the peak of its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in lines:
            return float(lines["VmHWM"].split()[0]) / 1024.0
    kilobytes = 1024.0 if sys.platform == "darwin" else 1.0  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobytes / 1024.0


def main() -> None:
    """Measure the case that standard input describes, and print its cost."""
    from diffsoil import _runtime

    _runtime.use_device("cpu")
    import jax
    import jax.numpy as jnp

    from diffsoil.cases import read_case
    from diffsoil.forward import Forward
    from sensitivity.pruning.ablation import of_case

    jax.config.update("jax_enable_compilation_cache", False)
    given = json.load(sys.stdin)
    case = read_case(Path(given["path"]), given["text"])
    runs = of_case(case, given["targets"], switches=(), drawn=False)
    nothing = jnp.zeros(0)
    began = time.perf_counter()
    compiled = jax.jit(Forward.values).lower(runs, nothing).compile()
    compile_s = time.perf_counter() - began
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        jax.block_until_ready(compiled(runs, nothing))
        times.append(time.perf_counter() - began)
    temporary = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0) / 2**20
    cost = Cost(compile_s, statistics.median(times[1:]), peak_mb(), temporary)
    print(json.dumps(cost._asdict()))
