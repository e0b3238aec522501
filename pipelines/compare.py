"""Compares finished runs: final numbers and curves side by side, with bands over seeds.

    python -m pipelines.compare runs/a runs/b runs/c
    python -m pipelines.compare --names='FedAvg,with privacy' --output=mine.html --json=mine.json runs/a runs/b
    python -m pipelines.compare runs

Runs that differ in nothing but the seed are one group: its numbers are mean and standard deviation. A group is named
by the fewest settings that tell it from the others, or by --names. What is no finished run is left out, with a note.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision import wording
from tff_vision.accounting import ledger
from tff_vision.program import json_file

_OUTPUT = flags.DEFINE_string('output', None,
                              'The page to write; unset is comparison.html in the folder above the runs.')
_NAMES = flags.DEFINE_list('names', None, 'Names of the groups, in their order.')


def main(paths: Sequence[str]) -> None:
  if not paths:
    raise ValueError('no run directory is named: python -m pipelines.compare RUN_DIR RUN_DIR ...')

  from tff_vision.report import number_format, run_comparison
  paths, others = run_comparison.kept(paths)
  for reason in others:
    print(f'note: {reason}; it is left out.', file=sys.stderr)
  groups = run_comparison.read(paths)
  if _NAMES.value is not None:
    groups = run_comparison.named(groups, _NAMES.value)
  output = _OUTPUT.value or str(_above(paths) / 'comparison.html')
  rows, metrics = run_comparison.summary(groups), run_comparison.metrics(groups)
  for group, row in zip(groups, rows, strict=True):
    said = [f'{one.name} {number_format.spread(one, row[one.name])}' for one in metrics if one.name in row]
    if isinstance(group.ledger, ledger.Ledger):
      said.append(f'epsilon {wording.at_most(group.ledger.epsilon)} '
                  f'at delta {wording.at_most(group.ledger.delta, ".3g")}, unit {group.ledger.unit}')
    print(f'{row["group"]}: {"  ".join(said)}  ({wording.counted(row["runs"], "run")}: '
          f'{", ".join(row["run_dirs"])})')
  run_comparison.write_html(output, groups, title=f'Comparison of {wording.counted(len(paths), "run")}')
  print(f'page: {output}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'groups': rows})


def _above(paths):
  """Returns the deepest folder that holds all runs."""
  return pathlib.Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]))


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,), takes_files=True)
