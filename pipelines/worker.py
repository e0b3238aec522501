"""One worker of a fleet: runs what a coordinator sends, on this machine's data, until it gets SIGTERM.

  python -m pipelines.worker --port=8000 --data_root=/srv/images \\
      --host=0.0.0.0 --tls_cert=worker.crt --tls_key=worker.key --tls_client_ca=ca.crt

docs/remote.md leads from one machine to a fleet; deploy/ has a systemd unit and container manifests.
"""

import contextlib
import logging
import signal
import threading

from absl import app

from flags import worker_flags
from tff_vision.runtime import health, supervisor

_SECONDS_BETWEEN_LOOKS = 0.5


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}; every option starts with --.')
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  try:
    config = worker_flags.worker_config()
  except ValueError as error:
    raise app.UsageError(str(error)) from None
  stopped = threading.Event()
  for signal_number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signal_number, lambda *_: stopped.set())
  try:
    with contextlib.ExitStack() as stack:
      worker = stack.enter_context(supervisor.Supervisor(config))
      if config.health_port is not None:
        stack.enter_context(health.served(config.host, config.health_port, worker.serving))
      while not stopped.wait(_SECONDS_BETWEEN_LOOKS):
        worker.look()
  except (ValueError, RuntimeError) as error:
    logging.error('%s', error)
    return 1
  logging.info('stopped')
  return 0


if __name__ == '__main__':
  app.run(main)
