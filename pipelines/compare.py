"""Compares finished runs: final numbers and curves side by side, with bands over seeds.

    python -m pipelines.compare runs/a runs/b runs/c
    python -m pipelines.compare --output=comparison.html --json=comparison.json runs/*

Runs that differ in nothing but the seed are one group: its numbers are mean and standard deviation.
"""

from collections.abc import Sequence

from absl import flags

from flags import output_flags
from pipelines import launch
from tff_vision.program import json_file

_OUTPUT = flags.DEFINE_string('output', 'comparison.html', 'The page to write.')


def main(paths: Sequence[str]) -> None:
  if not paths:
    raise ValueError('no run directory is named: python -m pipelines.compare RUN_DIR RUN_DIR ...')

  from tff_vision.report import run_comparison
  groups = run_comparison.read(paths)
  rows = run_comparison.summary(groups)
  for row in rows:
    said = [f'{name} {run_comparison.spread(name, row[name])}' for name in run_comparison.METRICS if name in row]
    if 'epsilon' in row['privacy']:
      said.append(f'epsilon {row["privacy"]["epsilon"]:.3f} at delta {row["privacy"]["delta"]:.3g}, unit '
                  f'{row["privacy"]["unit"]}')
    print(f'{row["group"]}: {"  ".join(said)}  ({row["runs"]} run{"s" * (row["runs"] > 1)}: '
          f'{", ".join(row["run_dirs"])})')
  run_comparison.write_html(_OUTPUT.value, groups, title=f'Comparison of {len(paths)} runs')
  print(f'page: {_OUTPUT.value}')
  if output_flags.JSON.value is not None:
    json_file.write(output_flags.JSON.value, {'groups': rows})


if __name__ == '__main__':
  launch.launch(main, flag_modules=(output_flags,), takes_files=True)
