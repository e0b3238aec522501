"""Every pipeline has the flags that it had: names, types, defaults and choices stand in flags.json."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.documents import commands

RECORDED = json.loads((pathlib.Path(__file__).parent / 'flags.json').read_text())
# Prints what a pipeline defines by the time at which it would parse its command line.
DUMP = """
import json, runpy, sys
from absl import flags
from pipelines import launch

BEFORE = set(flags.FLAGS)

def dump(main, *, flag_groups, shown=(), takes_files=False, prints=(), defaults=None):
  launch.define(flag_groups)
  found = {}
  for name in sorted(set(flags.FLAGS) - BEFORE):
    flag = flags.FLAGS[name]
    found[name] = {'kind': f'{type(flag).__name__} {type(flag.parser).__name__}', 'default': flag.default,
                   'choices': list(getattr(flag.parser, 'enum_values', None) or [])}
  print(json.dumps(found))

launch.launch = dump
runpy.run_module(sys.argv[1], run_name='__main__')
"""


def _defined(pipeline):
  done = subprocess.run([sys.executable, '-c', DUMP, f'pipelines.{pipeline}'], cwd=commands.ROOT, capture_output=True,
                        text=True, timeout=60)
  assert not done.returncode, done.stderr
  return json.loads(done.stdout)


@pytest.mark.parametrize('pipeline', RECORDED['pipelines'])
def test_a_pipeline_has_its_flags(pipeline):
  recorded = RECORDED['pipelines'][pipeline]
  assert _defined(pipeline) == {name: RECORDED['flags'][name] for name in recorded['names']} | recorded['other']
