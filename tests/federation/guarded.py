"""A federation of three sites on this machine: their files, guards in front of one executor, and a coordinator."""

import contextlib
import dataclasses
import shutil

import numpy as np

from tests import tiny
from tff_vision import configs, experiment
from tff_vision.configs import runtime_config
from tff_vision.data import images as images_lib
from tff_vision.data import records
from tff_vision.experiment import evaluations, planning, training
from tff_vision.federation import approval, site_protocols
from tff_vision.federation import plan as plan_lib
from tff_vision.learning import client_data
from tff_vision.runtime.driver import runtimes
from tff_vision.runtime.worker import certificate_authority, worker_process
from tff_vision.runtime.worker.guard import audit, enforcement, service

SITES = ('north', 'south', 'west')
EXAMPLES = (7, 12, 9)
HE = {'secure': configs.SecureConfig(secure_sum='he')}
MASKS = {'secure': configs.SecureConfig(secure_sum='masks')}
EXAMPLE_DP = {'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0)}


def plan(folder, rounds=2, **sections):
  """Returns a plan whose sites read the files of `folder`."""
  config = configs.ExperimentConfig(**{
      'data': configs.DataConfig(dataset='plan'), 'cohort': configs.CohortConfig(cohort_size=3),
      'model': configs.ModelConfig(model='linear'), 'program': configs.ProgramConfig(rounds=rounds),
      'client': configs.ClientConfig(batch_size=4), **sections})
  schema = plan_lib.Schema(image_shape=(4, 4, 1), dtype='uint8', class_names=tiny.CLASSES)
  sites = [plan_lib.Site(name=name, address=f'{name}:1', clients=(f'{name}-1',)) for name in SITES]
  return plan_lib.make(config, schema, sites, runtime_config.RuntimeConfig(
      runtime='workers', workers=('a:1',), data_placement='worker', worker_data_dir=str(folder)))


def write_files(folder):
  """Writes the examples of the sites' clients."""
  clients = tiny.federated_images(EXAMPLES).train
  for client in range(len(EXAMPLES)):
    for split in ('train', 'test'):
      records.write(folder / records.file_name(client, split), clients.examples(client))


def data_folder(tmp_path_factory):
  """Returns a new folder with these files."""
  made = tmp_path_factory.mktemp('data')
  write_files(made)
  return made


@contextlib.contextmanager
def executor():
  """Yields the address of an executor."""
  worker = worker_process.WorkerProcess(threads=1, max_concurrent_clients=None)
  try:
    worker.wait_until_serving()
    yield f'127.0.0.1:{worker.port}'
  finally:
    worker.stop()


def three_names(address):
  """Returns three names of one executor, because workers have different addresses."""
  return address, address.replace('127.0.0.1', 'localhost'), address.replace('127.0.0.1', '127.0.1.1')


@contextlib.contextmanager
def sites(address, watches, logs=(None, None, None), own=(None, None, None)):
  """Yields the addresses of guards in front of one executor; `own`: what the sites play themselves."""
  with contextlib.ExitStack() as stack:
    found = []
    for name, watch, log, plays in zip(SITES, watches, logs, own, strict=True):
      if log is not None:
        stack.callback(log.close)
      guard = service.Guard(address, watch, site=name, log=log, own=plays)
      found.append(f'127.0.0.1:{stack.enter_context(guard.served("127.0.0.1:0"))}')
    yield tuple(found)


def certificates(folder, host=None):
  """Returns the files of the sites' certificates; `host`: the name in all of them, by which workers are called."""
  certificate_authority.make_authority(folder)
  found = {site: folder / f'{site}.crt' for site in SITES}
  for site, path in found.items():
    if not path.exists():
      made = folder / f'of-{site}'
      shutil.copytree(folder, made, ignore=lambda _, names: [name for name in names if not name.startswith('ca.')])
      certificate_authority.make_worker(made, host or site)
      for suffix in ('.crt', '.key'):
        shutil.copy(made / f'{host or site}{suffix}', path.with_suffix(suffix))
  return found


def approved(planned, rehearsed, folder, spare_rounds=0, host=None, key_holder=None):
  """Returns the approvals of the three sites, through their signed files.

  Args:
    host: As in `certificates`.
    key_holder: The file of the key holder's certificate.
  """
  files, found = certificates(folder, host), []
  for site in SITES:
    path = folder / f'{site}.json'
    made = approval.of(planned, site, rehearsed, spare_rounds=spare_rounds, days=1, certificates=files,
                       key_holder=key_holder)
    approval.write(made, path, folder / f'{site}.key')
    found.append(approval.read(path, files[site]))
  return found


def enforced(approvals, folder):
  """Returns the watches, the logs and what the sites play, as a worker makes them from its approval."""
  logs = [audit.Log(folder / f'{one.site}.jsonl', one.rules().digest) for one in approvals]
  watches = [enforcement.Enforcement(one.rules(), log) for one, log in zip(approvals, logs, strict=True)]
  return watches, logs, [site_protocols.of(one, folder / f'{one.site}.key', log, watch.may_begin)
                         for one, log, watch in zip(approvals, logs, watches, strict=True)]


def trained(planned, addresses, folder, rounds=2, **tls):
  """Returns the trained weights after the rounds of a coordinator that has no image, and the faults."""
  (folder / 'plan.json').write_text(planned.to_json())
  runtime = dataclasses.replace(planned.run_by(), workers=addresses, **tls)
  made = experiment.from_config(planned.experiment(folder / 'plan.json'), runtime=runtime)
  with runtimes.open_runtime(runtime) as place:
    found = client_data.WorkerData(task=made.problem, folder=runtime.worker_data_dir).count(place)
    assert tuple(found.values()) == EXAMPLES
    clients = images_lib.CountedClients(copies=made.problem.images.train, counts=EXAMPLES)
    problem = dataclasses.replace(made.problem, images=dataclasses.replace(made.problem.images, train=clients))
    prepared = training.Training.prepare(made, planning.plan(made, problem, secret=bytes(32)), place,
                                         folder / 'states')
    state = prepared.begin()
    for round_num in range(1, rounds + 1):
      with place.cohort(range(3), 3):
        prepared.data.present(range(3))
      state = prepared.next(state, round_num, range(3)).state
    evaluated = evaluations.of(made.config, prepared.task, prepared.plan, runtime, place, bytes(32))
    if evaluated.test is not None:
      assert evaluated.test(prepared.weights(state), rounds)['examples'] == sum(EXAMPLES)
    return [np.asarray(one) for one in prepared.weights(state).trainable], place.take_faults()
