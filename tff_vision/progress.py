"""One line for each round, for scripts and notebooks that run an experiment."""

import sys
from collections.abc import Mapping
from typing import Any

from tff_vision import wording


def show_progress(record: Mapping[str, Any]) -> None:
  """Prints the numbers of a round; pass it to `Experiment.run` as `on_round`.

  Args:
    record: The record of a round, as in the history of report.json.
  """
  shown = {**record.get('train', {}), **{f'test {name}': value for name, value in record.get('evaluation', {}).items()},
           **record.get('privacy', {})}
  text = lambda name, value: wording.at_most(value, '.4g') if wording.is_promise(name) else f'{value:.4g}'
  numbers = '  '.join(f'{name} {text(name, value)}' for name, value in shown.items()
                      if isinstance(value, (int, float)) and not isinstance(value, bool))
  sys.stdout.write(f'round {record["round"]}  {numbers}\n')
