"""The process of a device executor: `python -m tff_vision.runtime.device_executor --port=8000`, started by a worker."""

import argparse
import logging
import os
import threading


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--host', default='127.0.0.1')
  parser.add_argument('--port', type=int, required=True)
  parser.add_argument('--clients', type=int, help='Clients that are computed at the same time on all devices together.')
  asked = parser.parse_args()
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # Imported late, so that a wrong argument is told of at once.
  from tff_vision.runtime.device import copies, interpreter, lanes, visible
  from tff_vision.runtime.device_executor import service
  from tff_vision.runtime.tff_internals import allocator
  allocator.keep_freed_memory()
  # Threads are set by the environment, as for the other executor.
  found = visible.choose((), None)
  each = visible.clients_at_once(found) if asked.clients is None else max(1, asked.clients // len(found))
  logging.info('computing %d clients at a time on each of %s', each, ', '.join(found))
  runs = interpreter.Interpreter(lanes.Lanes(found, each, lambda _, reason: logging.warning('%s', reason)),
                                 copies.Copies())
  with service.served(runs, f'{asked.host}:{asked.port}'):
    threading.Event().wait()


if __name__ == '__main__':
  main()
