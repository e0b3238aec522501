"""The arrows of the design: which package may import which."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LIBRARY = sorted((ROOT / 'tff_vision').rglob('*.py'))
SOURCES = [*LIBRARY, *(path for top in ('flags', 'pipelines') for path in sorted((ROOT / top).rglob('*.py')))]

# Package of tff_vision -> the packages and modules of tff_vision that it may import.
FOUNDATION = {'catalogue', 'configs', 'description', 'labels', 'objective_values', 'plugins', 'protocols',
              'passes', 'secret_files', 'seeds', 'told', 'values', 'wording'}
ALLOWED = {
    # What stands in the catalogue is loaded by name, where it is used.
    'catalogue': set(), 'configs': {'catalogue', 'plugins'}, 'values': {'configs'}, 'objective_values': {'configs'},
    'private_values': {'configs'}, 'passes': set(), 'secret_files': set(), 'seeds': set(), 'description': set(),
    'labels': set(), 'wording': set(),
    'plugins': {'description'}, 'told': set(), 'protocols': set(), 'progress': set(), 'trackers': set(),
    'data': set(), 'models': set(), 'client_state': set(), 'secure': set(), 'accounting': set(), 'runtime': {'data'},
    'diagnosis': {'runtime'},
    'participation': {'accounting'}, 'privacy': {'accounting', 'participation', 'secure', 'models'},
    'measures': set(), 'objectives': {'models', 'measures'}, 'tasks': {'data', 'models', 'objectives'},
    'aggregation': {'accounting', 'participation', 'privacy', 'secure', 'client_state'},
    'learning': {'tasks', 'data', 'models', 'client_state', 'objectives', 'measures'},
    'algorithms': {'learning', 'tasks', 'models'},
    'program': {'accounting', 'learning', 'tasks', 'data', 'models', 'objectives'},
    'report': {'accounting', 'program', 'learning', 'tasks', 'data', 'objectives'},
    'export': {'accounting', 'report', 'program', 'learning', 'tasks', 'data', 'models', 'objectives'},
    'audit': {'accounting', 'participation', 'privacy', 'secure', 'client_state', 'learning', 'tasks', 'data'},
    'assembly': {'runtime', 'audit', 'learning', 'tasks', 'aggregation', 'privacy', 'data', 'client_state'},
    'experiment': {'assembly', 'audit', 'program', 'report', 'export', 'runtime', 'learning', 'tasks', 'aggregation',
                   'privacy', 'accounting', 'data', 'objectives', 'client_state', 'trackers'},
    'federation': {'experiment', 'report', 'runtime', 'program', 'learning', 'tasks', 'models', 'data', 'objectives',
                   'aggregation', 'privacy', 'accounting', 'secure'},
    'testing': {'experiment', 'program', 'runtime', 'learning', 'tasks', 'models', 'data',
                'objectives'},
    'studies': {'experiment', 'accounting', 'program', 'report', 'runtime', 'learning', 'tasks', 'data', 'models',
                'measures'},
}
# These are handed a plan; its type is all that they may know of `privacy`.
TYPES_ONLY = {('program', 'privacy.plan'), ('report', 'privacy.plan')}


def imported(path):
  """Returns the dotted names that a file imports, at any depth."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path} has a relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def module_of(path):
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def circles(graph):
  """Returns the sets of modules that reach each other, of a mapping from a module to those that it imports.

  Peels off, again and again, what imports nothing that is left or what nothing that is left imports.
  """
  left = {name: set(used) for name, used in graph.items()}
  while True:
    used = set().union(*left.values())
    ends = {name for name, targets in left.items() if not targets & left.keys() or name not in used}
    if not ends:
      return left
    left = {name: targets - ends for name, targets in left.items() if name not in ends}


def test_no_modules_import_each_other_not_even_late():
  """Of `from package.module import name` the module counts, and of `from package import name` the package."""
  modules = {module_of(path): path for path in SOURCES}
  graph = {}
  for name, path in modules.items():
    found = set()
    for dotted in imported(path):
      found.add(dotted if dotted in modules else dotted.rpartition('.')[0])
    graph[name] = (found & modules.keys()) - {name}
  # What the public names are imported for, when they are asked for, is no arrow of the library.
  graph['tff_vision'] = set()
  assert not circles(graph)
  knot = {'a': {'b'}, 'b': {'c'}, 'c': {'b', 'd'}, 'd': set()}
  assert set(circles(knot)) == {'b', 'c'} and not circles(knot | {'c': {'d'}})


def package_of(path):
  parts = path.relative_to(ROOT / 'tff_vision').parts
  return parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_the_library_go_one_way(path):
  package = package_of(path)
  for name in imported(path):
    parts = name.split('.')
    if parts[0] != 'tff_vision' or len(parts) == 1 or package == '__init__':
      continue
    used = parts[1]
    if used == package or used in FOUNDATION or (package, '.'.join(parts[1:3])) in TYPES_ONLY:
      continue
    assert used in ALLOWED[package], f'{package} must not import {name}'


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_never_sees_the_command_line(path):
  for name in imported(path):
    assert name.split('.')[0] not in ('flags', 'pipelines'), name
    assert not name.startswith('absl.flags') and not name.startswith('absl.app'), name
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      assert node.func.id != 'print', f'{path}:{node.lineno} prints'


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_house_rules_of_files(path):
  lines = path.read_text().splitlines()
  assert len(lines) <= 300, 'split the module'
  assert path.stem not in ('utils', 'helpers', 'common')
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      assert all(alias.name.split('.')[0] != 'flags' for alias in node.names), '`import flags` shadows absl.flags'
    if (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and path.stem != 'validate'
        and not node.name.startswith('_')):
      assert node.args.kwarg is None, f'{node.name} takes **{node.args.kwarg and node.args.kwarg.arg}'


def test_pipelines_import_tensorflow_late():
  heavy = {'tensorflow', 'tensorflow_federated', 'sklearn', 'matplotlib', 'tensorflow_datasets'}
  for path in (ROOT / 'pipelines').glob('*.py'):
    for node in ast.parse(path.read_text()).body:
      names = ([alias.name for alias in node.names] if isinstance(node, ast.Import)
               else [node.module] if isinstance(node, ast.ImportFrom) else [])
      assert not {name.split('.')[0] for name in names} & heavy, f'{path.name} imports {names} at the top'


def at_the_top(path):
  """Returns the dotted names that a file imports when it is loaded."""
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_an_experiment_does_not_load_what_few_runs_need():
  """What it imports at the top, and what that imports, down to the packages that take long."""
  modules = {module_of(path): path for path in LIBRARY}
  seen, left = set(), ['tff_vision.experiment.running', 'tff_vision.data.build', 'tff_vision.data.sources.folders']
  while left:
    name = left.pop()
    seen.add(name)
    for dotted in at_the_top(modules[name]):
      rare = {'matplotlib', 'nibabel', 'pycocotools', 'pydicom', 'pyarrow'} & {dotted.split('.')[0]}
      assert not rare, f'{name} is loaded by every run and imports {dotted} at the top'
      left += {part for part in (dotted, dotted.rpartition('.')[0]) if part in modules} - seen
  assert 'tff_vision.export.keras_export' in seen and 'tff_vision.data.sources.mask_reading' in seen
