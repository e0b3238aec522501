"""What guards and tunnels cost a round: 3 sites x 1,500 images of the 1.2 M parameter CNN, with and without each.

    python -m benchmarks.guard --json=FILE [--images=1500] [--rounds=6] [--turns=2] [--secure_sum=none]

takes about ten minutes on two idle cores. Target: at most 10 % of a round for each. Every site has an executor of its
own, and each guard a process of its own, as on a site's machine. A tunnel is what --dial opens: OpenSSH in TLS to the
coordinator's doorway, and back; the worker's own mutual TLS is in no way. The four ways take turns, every second time
in reverse order; the medians of all rounds but the first of each turn are compared.
"""

import contextlib
import dataclasses
import functools
import getpass
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from absl import app, flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np

from benchmarks import origin
from tff_vision import configs, experiment
from tff_vision.configs import dial_config, runtime_config
from tff_vision.data import images as images_lib
from tff_vision.data import records
from tff_vision.experiment import planning, training
from tff_vision.federation import approval, rehearsal, site_protocols
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.driver import doorway, runtimes
from tff_vision.runtime.worker import certificate_authority, dialing, processes, worker_process
from tff_vision.runtime.worker.guard import audit, enforcement, service

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_IMAGES = flags.DEFINE_integer('images', 1500, 'Images of a site.')
_ROUNDS = flags.DEFINE_integer('rounds', 6, 'Rounds of one turn, the first of which is not counted.')
_TURNS = flags.DEFINE_integer('turns', 2, 'How many times each way is measured.')
_SECURE = flags.DEFINE_string('secure_sum', 'none', 'The secure sum.')
_SERVE = flags.DEFINE_string('serve', None, 'Of a guard\'s process: the executor\'s address.')
_PORT = flags.DEFINE_integer('port', None, 'Of a guard\'s process: where it listens.')
_APPROVED = flags.DEFINE_string('approved', None, 'Of a guard\'s process: the approval, beside its certificate.')

_SITES = ('north', 'south', 'west')


def _plan(folder):
  config = configs.ExperimentConfig(
      data=configs.DataConfig(dataset='plan'), model=configs.ModelConfig(model='cnn'),
      cohort=configs.CohortConfig(cohort_size=3), client=configs.ClientConfig(client_epochs=1, batch_size=20),
      secure=configs.SecureConfig(secure_sum=_SECURE.value),
      program=configs.ProgramConfig(rounds=_TURNS.value * _ROUNDS.value))
  schema = plan_lib.Schema(image_shape=(28, 28, 1), dtype='uint8', class_names=tuple('abcdefghij'))
  return plan_lib.make(config, schema, [plan_lib.Site(name=name, address=f'{name}:1', clients=(name,))
                                        for name in _SITES],
                       runtime_config.RuntimeConfig(runtime='workers', workers=('a:1',), data_placement='worker',
                                                    worker_data_dir=str(folder)))


def _write_images(folder):
  rng = np.random.default_rng(0)
  for client in range(len(_SITES)):
    x = rng.integers(0, 256, (_IMAGES.value, 28, 28, 1), np.uint8)
    y = rng.integers(0, 10, _IMAGES.value).astype(np.int32)
    records.write(folder / records.file_name(client), images_lib.Examples(x, y))


def _rounds(plan, addresses, folder):
  """Returns the seconds of each round of one turn, and the bytes to and from the workers."""
  runtime = dataclasses.replace(plan.run_by(), workers=addresses)
  made = experiment.from_config(plan.experiment(folder / 'plan.json'), runtime=runtime)
  with runtimes.open_runtime(runtime) as place:
    clients = images_lib.CountedClients(copies=made.problem.images.train, counts=[_IMAGES.value] * len(_SITES))
    problem = dataclasses.replace(made.problem, images=dataclasses.replace(made.problem.images, train=clients))
    prepared = training.Training.prepare(made, planning.plan(made, problem, secret=bytes(32)), place, folder / 'states')
    state, seconds = prepared.begin(), []
    for round_num in range(1, _ROUNDS.value + 1):
      begun = time.monotonic()
      state = prepared.next(state, round_num, range(len(_SITES))).state
      seconds.append(time.monotonic() - begun)
    traffic = [sum(sum(one.sent.values()) + sum(one.received.values()) for one in worker.traffic)
               for worker in place.workers]
  return seconds, sum(traffic)


def _serve():
  path = pathlib.Path(_APPROVED.value)
  approved = approval.read(path, path.with_suffix('.crt'))
  ruled = approved.rules()
  log = audit.Log(path.with_suffix('.jsonl'), ruled.digest)
  watch = enforcement.Enforcement(ruled, log)
  guard = service.Guard(_SERVE.value, watch, site=ruled.site, log=log,
                        own=site_protocols.of(approved, path.with_suffix('.key'), log, watch.may_begin))
  with guard.served(f'127.0.0.1:{_PORT.value}'):
    while True:
      time.sleep(60)


@contextlib.contextmanager
def _guards(addresses, folder):
  with contextlib.ExitStack() as stack:
    found = []
    for name, address in zip(_SITES, addresses, strict=True):
      port = processes.free_port()
      child = processes.Process(
          [sys.executable, '-m', 'benchmarks.guard', f'--serve={address}', f'--port={port}',
           f'--approved={folder / name}.json'], log=folder / f'{name}.log', environment=dict(os.environ))
      stack.callback(child.close)
      processes.wait_until(functools.partial(processes.serves, ('127.0.0.1', port)), child, 60)
      found.append(f'127.0.0.1:{port}')
    yield tuple(found)


@contextlib.contextmanager
def _tunnels(addresses, folder, stack):
  """Opens a tunnel to each address; yields where the coordinator then calls it, at other loopback addresses."""
  door, ports = processes.free_port(), [processes.free_port() for _ in addresses]
  there = tuple(f'127.0.0.{place + 2}:{port}' for place, port in enumerate(ports))
  if not (folder / 'localhost.crt').exists():
    certificate_authority.make_worker(folder, 'localhost')
  for name in ('doorway', *(f'{site}.dial' for site in _SITES)):
    certificate_authority.make_dial_key(folder, name)
  with doorway.Doorway(host='127.0.0.1', port=door, cert=str(folder / 'localhost.crt'),
                       key=str(folder / 'localhost.key'), host_key=str(folder / 'doorway'),
                       sites={place: str(folder / f'{site}.dial.pub')
                              for site, place in zip(_SITES, there, strict=True)}):
    for site, place, address in zip(_SITES, there, addresses, strict=True):
      stack.enter_context(dialing.Dial(dial_config.DialConfig(
          dial=f'{getpass.getuser()}@localhost:{door}', dial_as=place, dial_key=str(folder / f'{site}.dial'),
          dial_host_key=str(folder / 'doorway.pub'), dial_ca=str(folder / 'ca.crt')), int(address.split(':')[1])))
      deadline = time.monotonic() + 30
      while not processes.serves((place.split(':')[0], int(place.split(':')[1]))):
        if time.monotonic() > deadline:
          raise RuntimeError(f'the tunnel of {site} does not open.')
        time.sleep(0.05)
    yield there


def main(_):
  if _SERVE.value is not None:
    _serve()
  with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
    folder = pathlib.Path(name)
    _write_images(folder)
    plan = _plan(folder)
    (folder / 'plan.json').write_text(plan.to_json())
    rehearsed = rehearsal.rehearse(plan, [_IMAGES.value] * len(_SITES))
    certificate_authority.make_authority(folder)
    for site in _SITES:
      certificate_authority.make_worker(folder, site)
    certificates = {site: folder / f'{site}.crt' for site in _SITES}
    for site in _SITES:
      approval.write(approval.of(plan, site, rehearsed, spare_rounds=plan.rounds, days=1, certificates=certificates),
                     folder / f'{site}.json', folder / f'{site}.key')
    workers = [worker_process.WorkerProcess(threads=1, max_concurrent_clients=1) for _ in _SITES]
    for worker in workers:
      stack.callback(worker.stop)
      worker.wait_until_serving()
    direct = tuple(f'127.0.0.1:{worker.port}' for worker in workers)
    guarded = stack.enter_context(_guards(direct, folder))
    ways = {'direct': direct, 'guarded': guarded,
            'tunnelled': stack.enter_context(_tunnels(direct, folder, stack)),
            'guarded and tunnelled': stack.enter_context(_tunnels(guarded, folder, stack))}
    seconds, traffic = {way: [] for way in ways}, {}
    for turn in range(_TURNS.value):
      for way in list(ways)[::-1 if turn % 2 else 1]:
        found, traffic[way] = _rounds(plan, ways[way], folder)
        seconds[way].extend(found[1:])
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    result = {'machine': origin.processor(), 'cores': os.cpu_count(),
              'load': os.getloadavg()[0], 'secure_sum': _SECURE.value, 'images': _IMAGES.value, 'seconds': seconds,
              'median': medians, 'overhead': {way: median / medians['direct'] - 1 for way, median in medians.items()},
              'megabytes_of_a_turn': {way: found / 1e6 for way, found in traffic.items()},
              'commit': origin.commit()}
  text = json.dumps(result, indent=1)
  print(text)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(text + '\n')


if __name__ == '__main__':
  app.run(main)
