"""This pipeline without a second process: its rounds on the devices that TensorFlow sees, or on the processor.

    python -m benchmarks.peers.device_runtime WORKLOAD
"""

import tff_vision as tv
from benchmarks.peers import protocol, this_pipeline


def main(*, jit: bool = False) -> None:
  with tv.open_runtime(tv.RuntimeConfig(runtime='device', jit=jit)):
    protocol.serve(this_pipeline.build(protocol.requested()))


if __name__ == '__main__':
  main()
