"""This pipeline without a second process, with passes of training that XLA compiles.

    python -m benchmarks.peers.device_compiled WORKLOAD
"""

from benchmarks.peers import device_runtime

if __name__ == '__main__':
  device_runtime.main(jit=True)
