"""The process of a device executor: `python -m tff_vision.runtime.device_executor --port=8000`, started by a worker."""

import argparse
import logging
import os
import threading


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--host', default='127.0.0.1')
  parser.add_argument('--port', type=int, required=True)
  parser.add_argument('--max_concurrent_computation_calls', type=int, required=True,
                      help='Clients that are computed at the same time.')
  asked = parser.parse_args()
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # Imported late, so that a wrong argument is told of at once.
  from tff_vision.runtime.device import copies, interpreter, lanes
  from tff_vision.runtime.device_executor import devices, service
  from tff_vision.runtime.tff_internals import allocator
  allocator.keep_freed_memory()
  found = devices.visible()
  logging.info('computing on %s', ', '.join(found))
  each = max(1, asked.max_concurrent_computation_calls // len(found))
  runs = interpreter.Interpreter(lanes.Lanes(found, each, logging.warning), copies.Copies())
  with service.served(runs, f'{asked.host}:{asked.port}'):
    threading.Event().wait()


if __name__ == '__main__':
  main()
