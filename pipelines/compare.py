"""Compares finished runs: final numbers and curves side by side, with bands over seeds.

    python -m pipelines.compare runs/a runs/b runs/c
    python -m pipelines.compare --output=comparison.html --json=comparison.json runs/*

Runs that differ in nothing but the seed are one group: its numbers are mean and standard deviation.
"""

from collections.abc import Sequence

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision.accounting import ledger
from tff_vision.program import json_file

_OUTPUT = flags.DEFINE_string('output', 'comparison.html', 'The page to write.')


def main(paths: Sequence[str]) -> None:
  if not paths:
    raise ValueError('no run directory is named: python -m pipelines.compare RUN_DIR RUN_DIR ...')

  from tff_vision.report import number_format, run_comparison
  groups = run_comparison.read(paths)
  rows, metrics = run_comparison.summary(groups), run_comparison.metrics(groups)
  for group, row in zip(groups, rows, strict=True):
    said = [f'{one.name} {number_format.spread(one, row[one.name])}' for one in metrics if one.name in row]
    if isinstance(group.ledger, ledger.Ledger):
      said.append(f'epsilon {group.ledger.epsilon:.3f} at delta {group.ledger.delta:.3g}, unit {group.ledger.unit}')
    print(f'{row["group"]}: {"  ".join(said)}  ({row["runs"]} run{"s" * (row["runs"] > 1)}: '
          f'{", ".join(row["run_dirs"])})')
  run_comparison.write_html(_OUTPUT.value, groups, title=f'Comparison of {len(paths)} runs')
  print(f'page: {_OUTPUT.value}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), {'groups': rows})


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,), takes_files=True)
