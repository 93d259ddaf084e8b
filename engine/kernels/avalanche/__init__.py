"""The avalanche kernel: many paths of a fund's margin calls, cash and forced sales, hour by hour.

One body, built by factories so that it can be compiled for tiles of paths on a CPU (paths
innermost, so that the compiler vectorises) or with one path per thread. `twin` is the same model
in plain NumPy and is the oracle. The model itself: docs/methodology/avalanche.md.
"""
