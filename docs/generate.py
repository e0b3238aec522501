"""Writes what documents have from the code: pages of flags, report keys and the library's names; tables of choices.

    python docs/generate.py           # write them
    python docs/generate.py --check   # exit code 1 if something is not what the code says

Imports no TensorFlow.
"""

import ast
import dataclasses
import importlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402

import tff_vision  # noqa: E402
from flags import experiment_flags, federation_flags, privacy_flags, runtime_flags, study_flags  # noqa: E402
from tff_vision.catalogue import tables  # noqa: E402
from tff_vision.configs import option  # noqa: E402

REFERENCE = ROOT / 'docs' / 'reference'
_NOTE = '<!-- Written by `python docs/generate.py`; change the code, not this page. -->\n'
_COMMAND_PARTS = {'__init__', 'cells', 'command', 'flagfiles', 'helptext', 'launch', 'nearest', 'progress', 'search'}

GROUPS = (*experiment_flags.GROUPS, *privacy_flags.BUDGET_FILE, *runtime_flags.GROUPS,
          *(group for group in runtime_flags.WORKER if group not in runtime_flags.EXECUTORS),
          *federation_flags.PLAN, *federation_flags.SCHEMA, *federation_flags.SITES,
          *study_flags.HOSPITALS, *study_flags.CONTROL, *study_flags.BUDGET)
# Heading -> names of `tff_vision`; each public name stands once.
API = {
    'Experiment': ['Experiment', 'RunResult', 'Trainer', 'RuntimeConfig', 'open_runtime', 'show_progress'],
    'Data': ['data.from_arrays', 'data.from_client_data', 'data.load', 'Natural', 'Iid', 'Dirichlet', 'Shards'],
    'Task': ['Task', 'Classification', 'Detection', 'Embedding', 'Segmentation', 'Metric'],
    'Training': ['Client', 'Server', 'sgd', 'adam', 'adamw', 'yogi', 'adagrad'],
    'Participation': ['Fixed', 'Poisson', 'RoundRobin', 'Allocation'],
    'Privacy': ['ClientGaussian', 'MatrixFactorization', 'DistributedGaussian', 'ExampleDpSgd',
                'ExampleDistributed', 'BudgetFile', 'Ledger'],
    'Secure sums': ['ThresholdEncryption', 'KeyHolderEncryption', 'Masks'],
    'Your own algorithm, your own clients': ['Algorithm', 'Work', 'OwnWork'],
    'Checks of your own parts': [f'testing.check_{name}' for name in
                                 ('algorithm', 'model', 'loss', 'objective', 'aggregator', 'dataset', 'images')],
}


def pages():
  """Returns file -> text of every generated page, and of every page with a table of the catalogue."""
  made = {REFERENCE / 'api.md': _api(), REFERENCE / 'flags.md': _flags(), REFERENCE / 'report_keys.md': _report_keys(),
          REFERENCE / 'choices.md': _choices()}
  for path in sorted((ROOT / 'docs').rglob('*.md')):
    text = path.read_text()
    if path not in made and tables.named(text):
      made[path] = tables.refreshed(text)
  return made


def _api():
  listed = {name for names in API.values() for name in names if '.' not in name}
  public = set(tff_vision.__all__) - {'__version__', *tff_vision._MODULES}
  if listed != public:
    raise ValueError(f'API in docs/generate.py does not list the public names: {sorted(listed ^ public)}.')
  out = ['# Python API\n', _NOTE, 'The names of `import tff_vision as tv`. [How to use them](../how-to/python.md). '
         'The site shows arguments, errors and return values below each table.\n']
  for heading, names in API.items():
    found = [(name, *_defined(name)) for name in names]
    out += [f'## {heading}\n', '| name | what it is |', '| --- | --- |']
    out += [f'| `tv.{name}` | {_cell(summary)} |' for name, _, summary in found]
    out += ['', *(f'::: {module}.{name.rpartition(".")[2]}\n' for name, module, _ in found)]
  return '\n'.join(out).rstrip() + '\n'


def _defined(name):
  """Returns the module that defines a public name, and the first paragraph of its docstring."""
  package, _, local = name.rpartition('.')
  module = f'tff_vision.{package}' if package else tff_vision._PUBLIC[name]
  if package == 'data':
    module = 'tff_vision.data.given'
  path = ROOT.joinpath(*module.split('.'))
  path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
  for node in ast.parse(path.read_text()).body:
    if getattr(node, 'name', None) == local:
      return module, ast.get_docstring(node).split('\n\n')[0]
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == local:  # A package shows what a module defines.
      return _defined_in(f'{module}.{ast.unparse(node.value).rpartition(".")[0]}', local)
  raise ValueError(f'{path} does not define {local}.')


def _defined_in(module, local):
  path = ROOT.joinpath(*module.split('.')).with_suffix('.py')
  (node,) = [node for node in ast.parse(path.read_text()).body if getattr(node, 'name', None) == local]
  return module, ast.get_docstring(node).split('\n\n')[0]


def _flags():
  """By title of the groups in flags/, then by pipeline; a name that two groups have stands with each."""
  out = ['# Flags\n', _NOTE,
         '`python -m pipelines.NAME --help` lists the flags of one pipeline. `--flagfile=FILE` reads flags from a '
         'file, one a line. `--nox` turns a boolean flag `--x` off. The flags of an experiment are the fields of its '
         'config, so `config.json` of a run has the same names.\n']
  by_title = {}
  for group in GROUPS:
    by_title.setdefault(group.title, []).append(group)
  told = set()  # A section says once what it is about.
  for title, found in by_title.items():
    about = ' '.join(_of_section(group.section) for group in found if group.section not in told)
    told |= {group.section for group in found}
    out += [f'## {title}\n', *([f'{about}\n'] if about else []), '| flag | default | meaning |', '| --- | --- | --- |',
            *(_field_row(field) for group in found for field in group.fields()), '']
  out += ['## Flags of single pipelines\n']
  for name in _modules('pipelines'):
    doc, defined = _defined_flags(name)
    if defined:
      out += [f'### `{name}`\n', f'{doc}\n', *_table(defined)]
  return '\n'.join(out).rstrip() + '\n'


def _field_row(field):
  """The row of a flag that is a field of a config."""
  said, rows = option.of(field), option.rows(field) if field.name != 'dataset' else {}
  means = f'{said.about.rstrip(".")}; or {said.own}.' if said.own else said.about
  if rows:
    means += ''.join(f'<br>`{name}`: {row.about}' for name, row in rows.items())
  elif said.choices:
    means += ' One of ' + ', '.join(f'`{choice}`' for choice in said.choices) + '.'
  default = ','.join(field.default) if isinstance(field.default, tuple) else field.default
  shown = 'unset' if default is None or default is dataclasses.MISSING else f'`{default}`'
  if field.type is bool:
    shown = shown.lower()
  no = '[no]' if field.type in (bool, bool | None) else ''
  return f'| `--{no}{field.name}` | {_cell(shown)} | {_cell(means)} |'


def _modules(folder):
  return [f'{folder}.{path.stem}' for path in sorted((ROOT / folder).glob('*.py')) if path.stem not in _COMMAND_PARTS]


def _of_section(section):
  """What a config section is about, with a link to the page that explains it."""
  first = section.__doc__.split('\n')[0]
  page = re.search(r'docs/(\S+?/(\S+?\.md))', first)
  link = f' See [{page.group(2)}](../{page.group(1)}).' if page else ''
  return f'{re.split(r"[;:]|[.]( |$)", first)[0]}.{link}'


_TAKEN = {}  # Module -> the flags that it defines.


def _defined_flags(name):
  """Imports a module; returns its first paragraph and its flags. They leave absl, where another may have the names."""
  module = importlib.import_module(name)
  for owner, defined in list(flags.FLAGS.flags_by_module_dict().items()):
    if owner.startswith(('flags.', 'pipelines.')) and defined:
      _TAKEN[owner] = list(defined)
      for flag in _TAKEN[owner]:
        delattr(flags.FLAGS, flag.name)
  return (module.__doc__ or '').split('\n\n')[0].replace('\n', ' '), _TAKEN.get(name, [])


def _table(defined):
  rows = ['| flag | default | meaning |', '| --- | --- | --- |']
  for flag in defined:
    choices = getattr(flag.parser, 'enum_values', None)
    means = ' '.join(flag.help.split()).partition('; repeat this option')[0]
    if choices:
      means = re.sub(r'^<[^>]*>: ', '', means) + ' One of ' + ', '.join(f'`{choice}`' for choice in choices) + '.'
    default = 'unset' if flag.default is None else f'`{flag.default_as_str}`'.replace("`'", '`').replace("'`", '`')
    rows.append(f'| `--{"[no]" if flag.boolean else ""}{flag.name}` | {_cell(default)} | {_cell(means)} |')
  return [*rows, '']


def _choices():
  out = ['# Models, tasks, data sets and other choices\n', _NOTE,
         'Algorithms: [algorithms.md](algorithms.md). Partitions: [partitions.md](partitions.md). Privacy mechanisms: '
         '[privacy.md](../explanation/privacy.md). Secure sums: [secure_sums.md](../explanation/secure_sums.md). '
         'Aggregators, compressions and attacks: [robustness.md](../explanation/robustness.md).\n']
  for title, name in tables.CHOICES.items():
    out += [f'## {title}\n', tables.TABLES[name](), '']
  return '\n'.join(out).rstrip() + '\n'


def _report_keys():
  from tff_vision.report import keys as report_keys
  out = ['# Keys of report.json\n', _NOTE, ' '.join(report_keys.__doc__.split('\n\n')[1].split()) + '\n',
         '| key | content |', '| --- | --- |']
  out += [f'| `{key}` | {_cell(content)} |' for key, content in report_keys.KEYS.items()]
  return '\n'.join(out) + '\n'


def _cell(text):
  return ' '.join(text.split()).replace('|', '\\|')


def main(arguments):
  stale = []
  for path, text in pages().items():
    if path.exists() and path.read_text() == text:
      continue
    stale.append(str(path.relative_to(ROOT)))
    if '--check' not in arguments:
      path.write_text(text)
  if stale and '--check' in arguments:
    print(f'Not what the code says: {", ".join(stale)}; run `python docs/generate.py`.')
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
