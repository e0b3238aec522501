"""What benchmarks say of their numbers."""

import ast
import os
import pathlib
import re

from benchmarks import origin

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_mean_and_deviation_by_hand():
  assert origin.spread([1.0, 2.0, 6.0]) == {'mean': 3.0, 'sd': 7 ** 0.5, 'values': [1.0, 2.0, 6.0]}
  assert origin.spread([5.0]) == {'mean': 5.0, 'sd': 0.0, 'values': [5.0]}


def test_machine_and_code_are_said():
  found = origin.measurement()
  assert found['cores'] == os.cpu_count() == origin.machine()['cores'] and found['processor']
  assert origin.commit().startswith(found['commit']) and (found['commit'] or not (ROOT / '.git').exists())
  assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', found['time'])


def test_no_benchmark_says_it_in_another_way():
  for path in (ROOT / 'benchmarks').rglob('*.py'):
    if path.name != 'origin.py':
      assert not re.search(r'rev-parse|platform\.platform|/proc/cpuinfo|statistics\.stdev', path.read_text()), path.name


def _names(tree):
  """Returns what a module defines at its top level."""
  found = set()
  for node in tree.body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      found.add(node.name)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
      targets = node.targets if isinstance(node, ast.Assign) else [node.target]
      found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
  return found


def test_what_benchmarks_take_of_each_other_is_there():
  """Most of them are not run by tests, so that a name that is gone would be found when somebody measures."""
  trees = {path: ast.parse(path.read_text()) for path in (ROOT / 'benchmarks').rglob('*.py')}
  taken = 0
  for path, tree in trees.items():
    modules = {}
    for node in ast.walk(tree):
      if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'benchmarks':
        for one in node.names:
          source = ROOT.joinpath(*node.module.split('.'), f'{one.name}.py')
          if source in trees:
            modules[one.asname or one.name] = _names(trees[source])
    for node in ast.walk(tree):
      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
        taken += 1
        assert node.attr in modules[node.value.id], f'{path.name}: {node.value.id}.{node.attr}'
  assert taken > 50
