"""Runs one worker: it executes what a coordinator sends, on the data of this machine, until SIGTERM.

    python -m pipelines.worker --port=8000
    python -m pipelines.worker --host=0.0.0.0 --port=8443 --data_root=/srv/images \\
        --tls_cert=hospital-a.crt --tls_key=hospital-a.key --tls_client_ca=ca.crt

With --executor=device it computes on this machine's GPUs. With --dial=coordinator.example.org:443 it opens one
connection outwards and listens at the loopback interface only. With --approved=approved.json (python -m
pipelines.approve), only what it approves passes, and --audit_log has a line for every call. docs/how-to/remote.md
leads from one machine to a fleet; deploy/ has a systemd unit and container manifests.
"""

import contextlib
import functools
import logging
import os
import pathlib
import signal
import sys
import threading

from flags import runtime_flags
from pipelines import launch
from tff_vision.federation import site_manifest
from tff_vision.runtime.worker import dialing, health_endpoint, processes, supervisor

_SECONDS_BETWEEN_LOOKS = 0.5


def main() -> None:
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  config, dialled = runtime_flags.worker_config(), runtime_flags.dialled()
  if dialled.dial is not None and config.host != '127.0.0.1':
    raise ValueError(f'host={config.host} does not go with dial: the worker is called through the connection that it '
                     'opens, and listens at the loopback interface only.')
  approved = _approved(config)
  _check_records(config, approved)
  if note := processes.note_on_math(config.math):
    logging.warning('%s', note)
  stopped = threading.Event()
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.set())
  try:
    with contextlib.ExitStack() as stack:
      worker = stack.enter_context(supervisor.Supervisor(config, _guard(config, approved)))
      if config.health_port is not None:
        stack.enter_context(health_endpoint.served(config.host, config.health_port, worker.serving))
      dial = None if dialled.dial is None else stack.enter_context(dialing.Dial(dialled, config.port))
      while not stopped.wait(_SECONDS_BETWEEN_LOOKS):
        worker.look()
        if dial is not None:
          dial.look()
  except RuntimeError as error:
    logging.error('%s', error)
    sys.exit(1)
  logging.info('stopped')


def _approved(config):
  """Returns the approval, which has not expired; None: there is none."""
  if config.approved is None:
    return None
  from tff_vision.federation import approval  # Late: TensorFlow takes seconds, and other workers need none.
  found = approval.read(pathlib.Path(config.approved), pathlib.Path(config.tls_cert))
  try:
    found.rules().check_date()
  except ValueError as error:
    raise ValueError(f'approved={config.approved}: {error}') from None
  return found


def _check_records(config, approved):
  """Refuses records that are not those that pipelines.prepare wrote, or of another site; others are not checked."""
  folder = config.data_root
  if folder is None and approved is not None and approved.names:  # Without a sandbox, files have their own names.
    folder = os.path.dirname(approved.names[0])
  if folder is None or not (pathlib.Path(folder) / site_manifest.NAME).exists():
    return
  prepared = site_manifest.read(folder)
  prepared.check(folder)
  if approved is not None and prepared.site != approved.site:
    raise ValueError(f'data_root={folder} was prepared for the site {prepared.site}, and approved={config.approved} is '
                     f'for {approved.site}.')
  counts = tuple(client.counts['train'] for client in sorted(prepared.clients, key=lambda client: client.number))
  if approved is not None and approved.examples not in ((), counts):
    raise ValueError(f'approved={config.approved} was given for examples={",".join(map(str, approved.examples))} '
                     f'training images, and data_root={folder} has {",".join(map(str, counts))}: run '
                     'pipelines.approve again.')


def _guard(config, approved):
  """Returns what makes the guard of an executor; None without an approval."""
  if approved is None:
    return None
  from tff_vision.federation import site_protocols, site_status  # Imported late, as in `_approved`.
  from tff_vision.runtime.worker.guard import audit, enforcement, service
  found = approved.rules()
  log = audit.Log(pathlib.Path(config.audit_log), found.digest)
  watch = enforcement.Enforcement(found, log, lambda: site_status.held(pathlib.Path(config.audit_log)))
  logging.info('site %s: %s', found.site, ', '.join(f'{name}: {number} begun' for name, number in watch.begun.items()))
  own = site_protocols.of(approved, pathlib.Path(config.tls_key), log, watch.may_begin)
  return functools.partial(service.Guard, watch=watch, site=found.site, log=log, own=own)


if __name__ == '__main__':
  launch.launch(main, flag_groups=runtime_flags.WORKER)
