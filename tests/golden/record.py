"""Runs the golden cases and writes what they give.

    python -m tests.golden.record [CASE ...] > expected.json

Run it only where a change of results is meant, and say in the commit which results changed and why.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np

from tests.golden import cases

EXPECTED = pathlib.Path(__file__).with_name('expected.json')
# Of the report: times, memory, what the machine is, which command ran where, which errors a model makes.
_VARYING = ('origin', 'seconds', 'examples_per_second', 'peak_rss_mb', 'environment', 'export_parity',
            'where_it_is_wrong')


def config_of(fields):
  """Returns the experiment of a flat mapping of fields."""
  from tff_vision import configs
  given = cases.BASE | fields
  made = {name: section(**{f.name: given.pop(f.name) for f in dataclasses.fields(section) if f.name in given})
          for name, section in configs.sections().items()}
  assert not given, f'unknown fields: {sorted(given)}'
  return configs.ExperimentConfig(**made)


def outcome(name, folder):
  """Runs a case and returns its digest, numbers and keys."""
  import tensorflow as tf

  from tff_vision import configs, experiment
  config = config_of(cases.CASES[name])
  done = experiment.run(config, configs.LaunchConfig(run_dir=str(pathlib.Path(folder) / name)))
  weights = tf.keras.models.load_model(done.directory.export / 'model.keras', compile=False).get_weights()
  report = json.loads(done.directory.report_json.read_text())
  found = {'keys': sorted(_keys(report)), 'evaluation': report['evaluation'], 'traffic': report['traffic'],
           'privacy': {key: value for key, value in report['privacy'].items() if key != 'profile'},
           'history': [sorted(record) for record in report['history']]}
  if config.privacy.privacy == 'none':
    found['weights'] = {
        'sha256': hashlib.sha256(b''.join(np.ascontiguousarray(w).tobytes() for w in weights)).hexdigest(),
        'norms': [float(np.linalg.norm(w)) for w in weights],
        'first': [[float(v) for v in np.ravel(w)[:3]] for w in weights]}
  else:
    del found['evaluation']  # Of a model under fresh noise.
  return found


def _keys(value, path=''):
  """Yields the path of each key of a report; lists count as their first element."""
  if isinstance(value, dict):
    for key, inner in value.items():
      if key not in _VARYING and not (path == '' and key == 'config'):
        yield f'{path}/{key}'
        yield from _keys(inner, f'{path}/{key}')
  elif isinstance(value, list) and value:
    yield from _keys(value[0], f'{path}[]')


def main(names):
  from tff_vision.runtime.driver import closed
  found = json.loads(EXPECTED.read_text()) if EXPECTED.exists() and names else {}
  with tempfile.TemporaryDirectory() as folder:
    for name in names or cases.CASES:
      print(name, file=sys.stderr, flush=True)
      found[name] = outcome(name, folder)
  json.dump(found, sys.stdout, indent=1, sort_keys=True)
  print()
  closed.close()


if __name__ == '__main__':
  main(sys.argv[1:])
