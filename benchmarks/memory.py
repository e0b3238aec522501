"""Memory: its growth over many rounds, and its peak for cohorts of 10, 100 and 1,000 clients.

    python -m benchmarks.memory --json=FILE [--rounds=500]

Two targets: growth below 1 MB per round after warm-up, for driver and executor together; and stated peaks. Clients have
20 images of 28x28; the model is the CNN of 1,206,590 parameters, both for the peaks and for the many rounds.
"""

import json
import pathlib
import sys

import psutil
from absl import flags

from benchmarks import origin
from benchmarks.peers import running, workload
from pipelines import launch

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_ROUNDS = flags.DEFINE_integer('rounds', 500, 'Rounds over which memory is watched.', lower_bound=50)
_COHORTS = flags.DEFINE_list('cohorts', ['10', '100', '1000'], 'Clients in a round, for the peaks.')


def main() -> None:
  numbers = {'machine': origin.measurement(), 'growth': _growth(), 'peak_megabytes': {}}
  print(json.dumps(numbers['growth']), flush=True)
  for cohort in _COHORTS.value:
    found = running.measure(workload.parse(f'{cohort}x20'), {'this_pipeline': sys.executable}, repetitions=1,
                            seconds=0.0)
    numbers['peak_megabytes'][cohort] = round(found['this_pipeline']['peak_megabytes'])
    print(f'cohort {cohort}: peak {numbers["peak_megabytes"][cohort]} MB', flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')


def _growth():
  """Returns the resident memory of driver and executor over rounds of 4 clients, and its growth after warm-up."""
  import tff_vision as tv
  from benchmarks.peers import this_pipeline
  work = workload.parse('4x20')
  resident = []
  with tv.open_runtime() as place:
    run_round = this_pipeline.build(work)
    processes = [psutil.Process(pid) for pid in (None, *place.pids)]
    for _ in range(_ROUNDS.value):
      run_round()
      resident.append(sum(process.memory_info().rss for process in processes) / 2**20)
  warm = resident[len(resident) // 5:]
  return {'rounds': _ROUNDS.value, 'megabytes_when_warm': round(warm[0]), 'megabytes_at_the_end': round(warm[-1]),
          'growth_megabytes_a_round': round((warm[-1] - warm[0]) / (len(warm) - 1), 4)}


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
