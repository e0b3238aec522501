"""Rounds of many small clients on the devices of this process, with one or several clients in a call.

    python -m benchmarks.stacked_clients --json=FILE [--models=linear,mlp,cnn --stacked=1,8,32 --repetitions=5]

A round has 64 clients of 20 images of 28x28, which `benchmarks.generated_clients` draws, in batches of 5. The numbers
of clients in a call take turns; each turn opens the runtime anew, makes a round that is not counted, and takes the
median of the counted ones. The figure is the median over turns, in images per second, and over one client in a call.
"""

import json
import pathlib
import statistics
import time

from absl import flags

from benchmarks import origin
from pipelines import launch

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_MODELS = flags.DEFINE_list('models', ['linear', 'mlp', 'cnn'], 'Names of models.')
_STACKED = flags.DEFINE_list('stacked', ['1', '8', '32'], 'Numbers of clients in a call; the first is compared with.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Turns of each number.', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 5, 'Images of a batch.', lower_bound=1)
_CLIENTS, _ROUNDS = 64, 5


def main() -> None:
  if not _STACKED.value or not all(count.isdecimal() and int(count) for count in _STACKED.value):
    raise ValueError(f'stacked must be positive whole numbers, found {",".join(_STACKED.value)!r}.')
  numbers = {'machine': origin.measurement(), 'clients': _CLIENTS, 'batch': _BATCH.value,
             'models': {model: _measured(model) for model in _MODELS.value}}
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def _measured(model):
  counts = [int(count) for count in _STACKED.value]
  turns = {count: [] for count in counts}
  for _ in range(_REPETITIONS.value):
    for count, found in turns.items():
      found.append(_turn(model, count))
  speeds = {count: statistics.median(found) for count, found in turns.items()}
  made = {'images_per_second': {count: round(speed) for count, speed in speeds.items()},
          'over_first': {count: round(speed / speeds[counts[0]], 2) for count, speed in speeds.items()}, 'turns': turns}
  print(model, json.dumps({name: made[name] for name in ('images_per_second', 'over_first')}), flush=True)
  return made


def _turn(model, count):
  """Returns the images per second of a round."""
  import tff_vision as tv
  from benchmarks import generated_clients
  from tff_vision import configs
  with tv.open_runtime(tv.RuntimeConfig(runtime='device', devices=('CPU',), stacked_clients=count)) as place:
    trainer = tv.Experiment(
        tv.Task(generated_clients.images(configs.DataConfig(num_clients=_CLIENTS)), model=model), rounds=1 + _ROUNDS,
        participation=tv.Fixed(_CLIENTS), client=tv.Client(tv.sgd(0.05), batch_size=_BATCH.value)).prepare(place)
    state, seconds = trainer.begin(), []
    for round_num in range(1, 2 + _ROUNDS):
      began = time.perf_counter()
      state = trainer.next(state, round_num, range(_CLIENTS)).state
      seconds.append(time.perf_counter() - began)
    if faults := place.take_faults():
      raise RuntimeError(f'{model}, {count} in a call: {faults[0].reason}')
  return _CLIENTS * generated_clients.EXAMPLES / statistics.median(seconds[1:])


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
