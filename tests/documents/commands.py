"""The commands that stand in the project's documents, as they would be typed."""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob('README*.md'), *(ROOT / 'docs').rglob('*.md')])
# Typed block by block; test_tutorials.py does so. The one on hospitals has commands alone, like the other documents.
TUTORIALS = [path for path in DOCUMENTS
             if path.parent.name == 'tutorials' and path.stem not in ('index', 'hospitals')]

# A document in another language -> its original; test_translations.py holds both equal.
TRANSLATIONS = {'README.zh-CN.md': 'README.md', 'docs/zh-CN/own_folders.md': 'docs/tutorials/own_folders.md',
                'docs/zh-CN/data.md': 'docs/how-to/data.md', 'docs/zh-CN/hospitals.md': 'docs/tutorials/hospitals.md'}
# A shorter version: what it says is in the original, and not everything of the original is in it.
SHORTENED = {'docs/zh-CN/privacy.md': 'docs/explanation/privacy.md'}
# What several machines type in turn; tests/federation/test_typed, tests/deploy and a tutorial do that.
OF_SEVERAL = {f'docs/how-to/{name}.md' for name in ('federation', 'site', 'guard')}
# What is typed for its original is not typed again.
TYPED = [path for path in DOCUMENTS if path not in TUTORIALS
         and str(path.relative_to(ROOT)) not in {**TRANSLATIONS, **SHORTENED} | dict.fromkeys(OF_SEVERAL)]

# Blocks marked so are run as one shell script, by a test of that document.
_SCRIPT = re.compile(r'<!-- run -->\n```\w*\n.*?```', re.DOTALL)
_BLOCK = re.compile(r'^```[^\n]*\n(.*?)^```', re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r'`((?:\.venv/bin/)?python -m [^`]+)`')
_START = re.compile(r'^!?(?:\.venv/bin/)?python -m ')


@dataclasses.dataclass(frozen=True)
class Command:
  """`python -m MODULE ARGUMENTS`.

  Attributes:
    document: File name of the document it stands in.
    whole: Whether it stands in a block of its own, to be typed as it is; otherwise it is mentioned in a sentence.
  """
  document: str
  module: str
  arguments: tuple[str, ...]
  whole: bool

  def __str__(self) -> str:
    return f'{self.document}: {self.module} {" ".join(self.arguments)}'


def commands(document: pathlib.Path) -> list[Command]:
  """Returns the commands of a document in the order in which they stand there."""
  return list(_commands(document.name, document.read_text()))


def _commands(name, text) -> Iterator[Command]:
  text = _SCRIPT.sub('', text)
  for block in _BLOCK.findall(text):
    for line in block.replace('\\\n', ' ').splitlines():
      if _START.match(line.strip()):
        yield _command(name, line.strip(), whole=True)
  for line in _INLINE.findall(_BLOCK.sub('', text)):
    yield _command(name, line.replace('\n', ' '), whole=False)


def _command(name, line, *, whole):
  _, _, module, *arguments = shlex.split(line, comments=True)
  return Command(document=name, module=module, arguments=tuple(arguments), whole=whole)
