"""Speed of simulated rounds: this pipeline, also in one process, stock TFF, a TensorFlow loop, and other simulators.

    python -m benchmarks.simulation --workloads=10x100,100x20 --repetitions=5 --json=FILE --plot=FILE
    python -m benchmarks.simulation --guard

Every system trains the same model on the same images, in the same batches, with the same number of local steps. The
workloads are [KIND:]CLIENTSxEXAMPLES, see `benchmarks/peers/workload.py`. Systems that are incompatible with our
TensorFlow get their own environments under build/peers, made from the pinned files in benchmarks/peers; this needs a
package registry and about 4 GB. All systems of a workload are alive at the same time and take turns, so that other
load on the machine affects all of them; between its turns a system is stopped. The results are medians over
repetitions, and ratios of these medians.

`--guard` is for continuous integration: it fails when this pipeline is less than --guard_ratio times as fast as stock
TFF, measured in CPU time, which other processes disturb least.
"""

import json
import pathlib
import sys

from absl import flags

from benchmarks import origin, simulation_plot
from benchmarks.peers import environments, running, workload
from pipelines import launch

SYSTEMS = ('this_pipeline', 'device_runtime', 'device_compiled', 'stock_tff', 'tensorflow_loop', 'pfl_research',
           'fedjax_jit', 'flower_simulation')
# The systems that support the private workload; the other systems support all workloads except this one.
_PRIVATE = ('this_pipeline', 'device_runtime', 'device_compiled', 'flower_simulation')
# Goals: ratios of this pipeline's images per second to those of the other system.
GOALS = {
    '10x100': {'tensorflow_loop': 1.25, 'pfl_research': 1.8, 'flower_simulation': 2.2, 'fedjax_jit': 4.0,
               'stock_tff': 2.7},
    '100x20': {'tensorflow_loop': 1.1, 'pfl_research': 1.7, 'flower_simulation': 3.5, 'fedjax_jit': 3.8,
               'stock_tff': 4.0}}
_GUARDED = ('this_pipeline', 'stock_tff')

_WORKLOADS = flags.DEFINE_list('workloads', ['10x100', '100x20'], 'What is trained on, [KIND:]CLIENTSxEXAMPLES each.')
_SYSTEMS = flags.DEFINE_list('systems', list(SYSTEMS), 'Which systems: ' + ', '.join(SYSTEMS) + '.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Measurements of each system, in turn.', lower_bound=1)
_SECONDS = flags.DEFINE_float('seconds', 2.0, 'Shortest measurement: rounds until so much time is over.')
_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_PLOT = flags.DEFINE_string('plot', None, 'PNG file that receives the picture.')
_GUARD = flags.DEFINE_boolean('guard', False, 'Compare with stock TFF only, and fail below --guard_ratio.')
_RATIO = flags.DEFINE_float('guard_ratio', 1.4, 'Least images per processor second, over those of stock TFF.')


def main() -> None:
  if _GUARD.value:
    _guard()
    return
  if unknown := sorted(set(_SYSTEMS.value) - set(SYSTEMS)):
    raise ValueError(f'systems names {", ".join(unknown)}; there are {", ".join(SYSTEMS)}.')
  works = [workload.parse(text) for text in _WORKLOADS.value]
  numbers = {'machine': origin.measurement(), 'repetitions': _REPETITIONS.value, 'workloads': {}}
  pythons = {system: environments.python_of(system) for system in _SYSTEMS.value}
  for work in works:
    chosen = {name: python for name, python in pythons.items() if work.kind != 'dp' or name in _PRIVATE}
    found = running.measure(work, chosen, repetitions=_REPETITIONS.value, seconds=_SECONDS.value)
    numbers['workloads'][work.name] = {'images_a_round': work.images, 'systems': found}
    print(table(work.name, found), flush=True)
    if _JSON.value:
      pathlib.Path(_JSON.value).write_text(json.dumps(numbers, indent=2) + '\n')
  if _PLOT.value:
    simulation_plot.write(pathlib.Path(_PLOT.value), numbers)


def table(name: str, found: dict) -> str:
  """Returns the numbers of one workload as text, with the ratio of this pipeline to each system and its goal."""
  lines = [f'{name:<20}{"images/s":>10}{"per CPU-s":>11}{"ratio":>8}{"goal":>7}{"peak MB":>9}{"first round s":>15}']
  ours = found.get('this_pipeline', {})
  for system, numbers in found.items():
    if 'error' in numbers:
      lines.append(f'{system:<20}{numbers["error"]}')
      continue
    goal = GOALS.get(name, {}).get(system)
    ratio = ours.get('images_per_second', 0) / numbers['images_per_second']
    lines.append(f'{system:<20}{numbers["images_per_second"]:>10.0f}{numbers["images_per_cpu_second"]:>11.0f}'
                 f'{ratio:>8.2f}{"" if goal is None else goal:>7}{numbers["peak_megabytes"]:>9.0f}'
                 f'{numbers["seconds_to_first_round"]:>15.1f}')
  return '\n'.join(lines) + '\n'


def _guard():
  """Exits with 1 unless this pipeline is `guard_ratio` times as fast as stock TFF on many small clients."""
  work = workload.parse('20x20')
  found = running.measure(work, dict.fromkeys(_GUARDED, sys.executable), repetitions=5, seconds=1.0)
  print(table(work.name, found))
  if broken := [name for name, numbers in found.items() if 'error' in numbers]:
    raise ValueError(f'{", ".join(broken)} did not run.')
  ours, stock = (found[name]['images_per_cpu_second'] for name in _GUARDED)
  print(f'images per processor second over those of stock TFF: {ours / stock:.2f}, and {_RATIO.value:g} is asked')
  if ours < _RATIO.value * stock:
    raise ValueError(f'this pipeline is {ours / stock:.2f} times as fast as stock TFF, less than {_RATIO.value:g}.')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
