"""Writes the pages of docs/reference/ that are made from the code: flags, keys of report.json, names of the library.

    python docs/generate.py           # write them
    python docs/generate.py --check   # exit code 1 if one of them is not what the code says

Imports no TensorFlow.
"""

import ast
import importlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402

import tff_vision  # noqa: E402
from tff_vision import configs  # noqa: E402

REFERENCE = ROOT / 'docs' / 'reference'
_NOTE = '<!-- Written by `python docs/generate.py`; change the code, not this page. -->\n'
_COMMAND_PARTS = {'__init__', 'command', 'launch', 'progress', 'flagfiles'}

# Heading -> names of `tff_vision`; each public name stands once.
API = {
    'Experiment': ['Experiment', 'RunResult', 'RuntimeConfig', 'show_progress'],
    'Data': ['data.from_arrays', 'data.from_client_data', 'data.load', 'Natural', 'Iid', 'Dirichlet', 'Shards'],
    'Task': ['Task', 'Classification', 'Embedding'],
    'Training': ['Client', 'Server', 'sgd', 'adam', 'adamw', 'yogi', 'adagrad'],
    'Participation': ['Fixed', 'Poisson', 'RoundRobin', 'Allocation'],
    'Privacy': ['ClientGaussian', 'MatrixFactorization', 'DistributedGaussian', 'ExampleDpSgd'],
    'Secure sums': ['ThresholdEncryption', 'KeyHolderEncryption', 'Masks'],
    'Your own algorithm': ['Algorithm', 'Work'],
    'Checks of your own parts': [f'testing.check_{name}' for name in
                                 ('algorithm', 'model', 'loss', 'aggregator', 'dataset')],
}


def pages():
  """Returns file name -> text of every generated page."""
  return {'api.md': _api(), 'flags.md': _flags(), 'report_keys.md': _report_keys()}


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
  path = ROOT.joinpath(*module.split('.')).with_suffix('.py')
  for node in ast.parse(path.read_text()).body:
    if getattr(node, 'name', None) == local:
      return module, ast.get_docstring(node).split('\n\n')[0]
  raise ValueError(f'{path} does not define {local}.')


def _flags():
  """By file of flags/, then by pipeline; a name that two files define stands with each."""
  out = ['# Flags\n', _NOTE,
         '`python -m pipelines.NAME --help` lists the flags of one pipeline. `--flagfile=FILE` reads flags from a '
         'file, one a line. `--nox` turns a boolean flag `--x` off. The flags of an experiment are the fields of its '
         'config, so `config.json` of a run has the same names.\n']
  found = {name: _defined_flags(name) for folder in ('flags', 'pipelines') for name in _modules(folder)}
  for name, (doc, defined) in found.items():
    folder, stem = name.split('.')
    if folder == 'flags' and defined:
      title = stem.removesuffix('_flags').replace('_', ' ').capitalize()
      out += [f'## {title}\n', f'{doc}{_of_section(doc)}\n', *_table(defined)]
  out += ['## Flags of single pipelines\n']
  for name, (doc, defined) in found.items():
    if name.startswith('pipelines.') and defined:
      out += [f'### `{name}`\n', f'{doc}\n', *_table(defined)]
  return '\n'.join(out).rstrip() + '\n'


def _modules(folder):
  return [f'{folder}.{path.stem}' for path in sorted((ROOT / folder).glob('*.py')) if path.stem not in _COMMAND_PARTS]


def _of_section(doc):
  """What the config section that a file of flags names is about, with a link to the page that explains it."""
  section = re.fullmatch(r'Flags of `(\w+)`\.', doc)
  about = getattr(configs, section.group(1), None) if section else None
  if about is None:
    return ''
  first = about.__doc__.split('\n')[0]
  page = re.search(r'docs/(\S+?/(\S+?\.md))', first)
  link = f' See [{page.group(2)}](../{page.group(1)}).' if page else ''
  return f' {re.split(r"[;:]|[.]( |$)", first)[0]}.{link}'


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
  for name, text in pages().items():
    path = REFERENCE / name
    if path.exists() and path.read_text() == text:
      continue
    stale.append(name)
    if '--check' not in arguments:
      path.write_text(text)
  if stale and '--check' in arguments:
    print(f'docs/reference/ is not what the code says: {", ".join(stale)}; run `python docs/generate.py`.')
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
