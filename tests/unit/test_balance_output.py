"""What the balance leaves on standard output: nothing."""

import subprocess
import sys

SOLVE = """
from kernels.balance import Network, balance
net = Network.of(regions=("a",), dt_h=1.0, load_mw=[[1.0]], import_max_mw=2.0)
print("before"); balance(net); balance(net); print("after")
"""


def test_a_solve_writes_nothing_to_standard_output() -> None:
    done = subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, check=True, text=True)
    assert done.stdout == "before\nafter\n"


def test_it_can_be_imported_where_standard_output_is_closed() -> None:
    code = "import os; os.close(1); import kernels.balance"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode in (0, 120)
