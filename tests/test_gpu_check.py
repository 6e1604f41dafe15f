"""The script that measures a machine with a GPU, with small numbers on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check.py"


def table(folder: Path, *words: str) -> pd.DataFrame:
    path = folder / "table.csv"
    command = [sys.executable, str(SCRIPT), str(path), "--device", "cpu", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(path)


@pytest.mark.slow
def test_columns_side_by_side_agree_with_one_and_every_row_is_measured(tmp_path):
    found = table(tmp_path, "--columns", "1", "3", "--years", "50", "--minutes", "60")
    assert found["float64"].all()
    assert found["run_s"].notna().all()
    assert (found["differs_from_cpu"].dropna() <= 1e-9).all()
    assert set(found.loc[found["what"].str.contains("gradient by"), "columns"]) == {1, 3}
    assert found["what"].str.startswith("NUTS").sum() == 1


@pytest.mark.slow
def test_what_there_is_no_time_for_is_named(tmp_path):
    found = table(tmp_path, "--columns", "1", "--years", "10", "--minutes", "0")
    assert found["remark"].str.startswith("left out").all()
