"""Trains one layer on fixed features under example-level privacy, from the flags of `pipelines.train`.

    python -m benchmarks.published_private --flagfile=pipelines/recipes/fashion_mnist_private_linear.flags \\
        --num_seeds=3 --json=FILE

`pipelines.train` with the same flags trains the same way; it computes the features of an image anew in every step, and
here they are computed once (`private_utility_run`). `--noise_multiplier=0` instead of `--target_epsilon` is the same
without noise. FILE holds for each seed, 0 and on, accuracy, epsilon, noise_multiplier and seconds; seeds in it are not
run again.
"""

import json
import pathlib
import time

from absl import flags

from benchmarks import private_utility_cells, private_utility_run
from flags import experiment_flags, program_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.program import json_file

_SEEDS = flags.DEFINE_integer('num_seeds', 1, 'Number of seeds: 0, 1, ...', lower_bound=1)


def main() -> None:
  if program_flags.json_file() is None:
    raise ValueError('json is missing: the file that receives the numbers.')
  cell, file = cell_of(experiment_flags.experiment_config()), pathlib.Path(program_flags.json_file())
  found = json.loads(file.read_text()) if file.exists() else {}
  for seed in map(str, range(_SEEDS.value)):
    if seed not in found:
      started = time.monotonic()
      found[seed] = {**private_utility_run.accuracy(cell, int(seed)), 'seconds': round(time.monotonic() - started, 1)}
      json_file.write(str(file), found)
      print(f'seed {seed}: {found[seed]}', flush=True)


def cell_of(config: configs.ExperimentConfig) -> private_utility_cells.Cell:
  """Returns what `private_utility` runs for an experiment.

  Raises:
    ValueError: The experiment has no fixed features, or is one that `private_utility` does not run.
  """
  for wrong, what in ((config.model.model not in private_utility_run.FIXED, f'model={config.model.model}'),
                      (not config.privacy.privacy.startswith('example_'), f'privacy={config.privacy.privacy}'),
                      (config.data.partition != 'iid', f'partition={config.data.partition}'),
                      (config.client.client_optimizer != 'sgdm' and config.privacy.privacy == 'example_dp_sgd',
                       f'client_optimizer={config.client.client_optimizer}'),
                      (config.cohort.cohort_size != config.data.num_clients, 'a cohort that is not all clients'),
                      (config.data.preprocess != 'raw', f'preprocess={config.data.preprocess}'),
                      (config.algorithm.algorithm != 'fedavg', f'algorithm={config.algorithm.algorithm}'),
                      (config.privacy.privacy == 'example_distributed'
                       and config.secure.secure_bits != private_utility_run.SHARED_BITS,
                       f'secure_bits={config.secure.secure_bits}')):
    if wrong:
      raise ValueError(f'{what} does not go with features that are computed once; use pipelines.train.')
  return private_utility_cells.Cell(
      row=config.model.model, epsilon=None if config.privacy.noise_multiplier == 0 else config.privacy.target_epsilon,
      model=config.model.model, num_clients=config.data.num_clients or 1, cohort=config.cohort, client=config.client,
      server=config.server, rounds=config.program.rounds, privacy=config.privacy, dataset=config.data.dataset,
      data_dir=config.data.data_dir)


if __name__ == '__main__':
  launch.launch(main, flag_groups=experiment_flags.GROUPS)
