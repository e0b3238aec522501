"""What a run has released, for Prometheus: the latest number of every column of metrics.csv."""

import csv
import pathlib
from collections.abc import Mapping

from tff_vision.program import json_file, run_paths

CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


def exposition(runs: Mapping[str, pathlib.Path]) -> bytes:
  """Returns the text format of Prometheus for runs by name.

  Gauges: `tff_vision_round` and `tff_vision_rounds`, the last finished round and the number of rounds;
  `tff_vision_finished`, 0 or 1; `tff_vision_value` with the label `name`, each released number as in metrics.csv.
  """
  import prometheus_client  # Imported late, because --help must be fast.
  registry = prometheus_client.CollectorRegistry()
  gauge = lambda name, text, *labels: prometheus_client.Gauge(f'tff_vision_{name}', text, ('run', *labels),
                                                              registry=registry)
  done, planned = gauge('round', 'Last finished round.'), gauge('rounds', 'Rounds of the run.')
  finished, value = gauge('finished', 'Whether the report is written.'), gauge('value', 'Released numbers.', 'name')
  for name, folder in runs.items():
    paths, latest = run_paths.RunPaths(folder), _latest(folder)
    done.labels(name).set(latest.pop('round', 0.0))
    finished.labels(name).set(paths.report_json.exists())
    if (rounds := planned_rounds(paths)) is not None:
      planned.labels(name).set(rounds)
    for column, number in latest.items():
      value.labels(name, column).set(number)
  return prometheus_client.generate_latest(registry)


def _latest(folder) -> dict[str, float]:
  """Returns the last number of each column."""
  found = {}
  try:
    with open(run_paths.RunPaths(folder).metrics, encoding='utf-8', errors='replace', newline='') as file:
      for row in csv.DictReader(file):
        for name, text in row.items():
          number = _number(text)
          if number is not None:
            found[name] = number
  except (OSError, csv.Error):
    pass  # No round is finished yet, or what follows is damaged.
  return found


def _number(text):
  """Returns the number in a cell, NaN and infinity too: a loss that has diverged is no longer what it was before."""
  try:
    return float(text)
  except (TypeError, ValueError):
    return None


def planned_rounds(paths: run_paths.RunPaths) -> int | None:
  """Returns the number of rounds that a run's config.json says; None: it is missing, or damaged."""
  try:
    return int(json_file.load(paths.config)['program']['rounds'])
  except (ValueError, KeyError, TypeError):
    return None
