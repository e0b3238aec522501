"""Writes the clients of a data set as files for the workers that keep them, one folder a worker.

    python -m pipelines.shard --dataset=digits --num_clients=6 --num_workers=3 --out=shards

shards/worker_2 goes to the third worker of --workers, which shows it to its executor as /data:
`python -m pipelines.worker --data_root=shards/worker_2`. Then
`python -m pipelines.train --data_placement=worker --workers=...` with the same data flags and seed sends file names
instead of images. A hospital that has images of its own writes its own folder, on its own machine.
"""

import pathlib

from absl import flags

from flags import experiment_flags
from pipelines import launch
from tff_vision import wording

_OUT = flags.DEFINE_string('out', 'shards', 'Folder to write to.')
_NUM_WORKERS = flags.DEFINE_integer('num_workers', 1, 'Number of workers; client i goes to worker i modulo this.',
                                    lower_bound=1)


def main() -> None:
  config = experiment_flags.experiment_config()
  out = pathlib.Path(_OUT.value)
  if out.exists() and any(out.iterdir()):
    raise ValueError(f'out={out} is not empty.')

  from tff_vision.data import build, records  # Imported late: TensorFlow takes seconds, but --help must be fast.
  found = build.build(config.data, seed=config.program.seed)
  clients = found.train
  for worker in range(_NUM_WORKERS.value):
    folder = out / f'worker_{worker}'
    folder.mkdir(parents=True)
    mine = range(worker, len(clients), _NUM_WORKERS.value)
    for client in mine:
      records.write(folder / records.file_name(client), clients.examples(client))
      if found.validation is not None:
        records.write(folder / records.file_name(client, 'validation'), found.validation.examples(client))
      records.write(folder / records.file_name(client, 'test'), found.test.examples.take(found.test.clients[client]))
    print(f'{folder}: {wording.counted(len(mine), "client")}, '
          f'{wording.counted(sum(clients.num_examples(client) for client in mine), "image")}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=experiment_flags.GROUPS)
