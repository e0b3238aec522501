"""Plans over the clients of a simulated data set, and the files that its sites would have."""

import dataclasses

from tff_vision import configs
from tff_vision.configs import runtime_config
from tff_vision.data import build, records
from tff_vision.federation import images
from tff_vision.federation import plan as plan_lib

# Two parts of the data set have a validation set of the clients' own.
DATA = configs.DataConfig(dataset='digits', num_clients=4, client_validation_fraction=0.2)


def simulated(seed=0):
  return build.build(DATA, seed=seed)


def write_files(found, folder):
  """Writes what the sites would write, each its own clients'."""
  folder.mkdir(exist_ok=True)
  for client in range(len(found.train)):
    records.write(folder / records.file_name(client), found.train.examples(client))
    records.write(folder / records.file_name(client, 'validation'), found.validation.examples(client))
    records.write(folder / records.file_name(client, 'test'), found.test.examples.take(found.test.clients[client]))


def experiment(**sections):
  """Returns the experiment on the simulated data set."""
  fields = {'cohort': configs.CohortConfig(cohort_size=3), 'model': configs.ModelConfig(model='linear'),
            'client': configs.ClientConfig(client_epochs=1),
            'program': configs.ProgramConfig(rounds=3, rounds_per_evaluation=1)}
  return configs.ExperimentConfig(data=DATA, **(fields | sections))


def sites(found, sizes=(1, 2, 1)):
  ids, made = list(found.train.client_ids), []
  for number, size in enumerate(sizes):
    made.append(plan_lib.Site(name=f'site {number}', address=f'127.0.0.1:{9000 + number}', clients=tuple(ids[:size])))
    ids = ids[size:]
  return made


def of(config, found, folder, *, runtime=None, **more):
  """Returns the plan of the same experiment over sites."""
  data = configs.DataConfig(dataset='plan', preprocess=config.data.preprocess)
  runtime = {'worker_data_dir': str(folder), 'clients_per_call': 1} | (runtime or {})
  base = runtime_config.RuntimeConfig(runtime='workers', local_workers=3, data_placement='worker', **runtime)
  return plan_lib.make(dataclasses.replace(config, data=data), images.schema_of(found), sites(found), base, **more)
