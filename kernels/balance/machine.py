"""The compiled interior point for this machine: wider vectors where it has them, the same bits."""

from kernels.balance._scan import has_avx2

if has_avx2():
    from kernels.balance._network_avx2 import Workspace, solve_network
else:
    from kernels.balance._network import Workspace, solve_network

__all__ = ["Workspace", "solve_network"]
