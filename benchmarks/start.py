"""Measures waiting times: --help, the end of the first round, the evaluation of 10,000 images.

    python -m benchmarks.start --json=FILE --runtimes=local,device

Three targets on an idle machine with files in the page cache: `pipelines.train --help` within 0.5 s; from the command
to the end of round 1 on `digits` within 4.5 s; an evaluation of 10,000 images within 2 s. Each is the best of
--repetitions, because other load on the machine can only add time.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import origin
from benchmarks.peers import running
from pipelines import launch

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 3, 'Measurements of each.', lower_bound=1)
_RUNTIMES = flags.DEFINE_list('runtimes', ['local', 'device'], 'Runtimes whose first round is timed.')
_MODELS = flags.DEFINE_list('models', ['cnn', 'cnn_dropout', 'mlp'], 'Models whose evaluation is timed.')


def main() -> None:
  numbers = {'machine': origin.measurement(), 'help_seconds': _best(_help),
             'first_rounds': {runtime: _first_rounds(runtime) for runtime in _RUNTIMES.value},
             'evaluation_seconds_10000': {model: _evaluation(model) for model in _MODELS.value}}
  text = json.dumps(numbers, indent=2) + '\n'
  print(text, end='')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(text)


def _best(measured):
  return round(min(measured() for _ in range(_REPETITIONS.value)), 2)


def _help():
  started = time.perf_counter()
  subprocess.run([sys.executable, '-m', 'pipelines.train', '--help'], stdout=subprocess.DEVNULL, check=True)
  return time.perf_counter() - started


def _first_rounds(runtime):
  """Returns the fewest seconds from the command to the end of round 1, and the largest memory of the run."""
  seconds, megabytes = zip(*(_first_round(runtime) for _ in range(_REPETITIONS.value)), strict=True)
  return {'seconds': round(min(seconds), 2), 'peak_megabytes': round(max(megabytes))}


def _first_round(runtime):
  """Returns the seconds from the command until the progress line of round 1, and the memory until then.

  The memory is the sum of the peaks of all processes; pages that they share count repeatedly.
  """
  with tempfile.TemporaryDirectory() as folder:
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, '-m', 'pipelines.train', '--rounds=1', f'--runtime={runtime}',
                           f'--run_dir={folder}/run'],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
      for line in process.stdout:
        if 'round 1/1' in line:
          found = time.perf_counter() - started, running.peak_megabytes(process.pid)
      if process.wait():
        raise ValueError('pipelines.train failed.')
  return found


def _evaluation(model):
  """Returns the seconds of an evaluation of 10,000 images of 28x28 in 10 classes, after a first one for tracing."""
  import numpy as np

  from tff_vision import models
  from tff_vision.data import images
  from tff_vision.learning import evaluation
  rng = np.random.default_rng(0)
  examples = images.Examples(rng.integers(0, 256, (10_000, 28, 28, 1), np.uint8),
                             rng.integers(0, 10, 10_000).astype(np.int32))
  held_out = images.HeldOut(examples=examples, clients=np.split(np.arange(10_000), 100))
  evaluator = evaluation.Evaluator(models.MODELS[model]((28, 28, 1), 10), preprocessing=images.Preprocessing())
  evaluator.evaluate(held_out)

  def once():
    started = time.perf_counter()
    evaluator.evaluate(held_out)
    return time.perf_counter() - started
  return _best(once)


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
