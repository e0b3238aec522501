"""What --help prints: a pipeline's own flags, then its groups; --help=WORD prints what the word names."""

import dataclasses
import pathlib
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from flags import groups
from pipelines import nearest
from tff_vision import configs
from tff_vision.configs import option

_WORDS = ('--help', '-h', '-help', '--helpshort', '--helpfull')


def wanted(arguments: Sequence[str]) -> str | None:
  """Returns what a command line asks to explain: a word, '' for everything, None for nothing."""
  for argument in arguments:
    if argument in _WORDS:
      return ''
    name, equals, word = argument.partition('=')
    if equals and name in _WORDS:
      return word.strip()
  return None


def show(script: ModuleType, flag_groups: Sequence[groups.Group], word: str, *, defaults: Any = None) -> None:
  """Prints the flags of a script.

  Args:
    flag_groups: The groups that it reads.
    word: A word of a title, or of names of flags; '': everything.
    defaults: A config whose values replace the defaults of the fields; None: there is none.

  Raises:
    ValueError: Nothing has that word.
  """
  name, by_title, values = pathlib.Path(str(script.__file__)).stem, _by_title(flag_groups), _values(defaults)
  own = [flag for flag in flags.FLAGS.flags_by_module_dict().get(sys.argv[0], ())]
  if word:
    by_title, own = _with_word(word, by_title, own)
  else:
    print((script.__doc__ or '').strip() + '\n\nFlags (also --flagfile=FILE, one flag a line); --help=WORD prints the '
          f'group or the flags of that name:\n  {_titles(by_title)}')
  if own:
    print(f'\nOf pipelines.{name} itself:')
    for flag in own:
      _print_flag(flag, ' '.join(flag.help.split()).partition('; repeat this option')[0], flag.default,
                  names=getattr(flag.parser, 'enum_values', ()))
  for title, fields in by_title.items():
    print(f'\n{title}:')
    for field in fields:
      _print_field(field, values.get(field.name, flags.FLAGS[field.name].default))


def _by_title(flag_groups) -> dict[str, list[dataclasses.Field]]:
  found: dict[str, list[dataclasses.Field]] = {}
  for group in flag_groups:
    found.setdefault(group.title, []).extend(group.fields())
  return found


def _values(defaults) -> Mapping[str, Any]:
  """Returns field -> value of a config, for fields that differ from their own defaults."""
  if defaults is None:
    return {}
  return {name: value for section in configs.sections(type(defaults))
          for name, value in option.changed(getattr(defaults, section)).items()}


def _titles(by_title):
  return textwrap.fill(', '.join(by_title), width=100, subsequent_indent='  ', break_on_hyphens=False)


def _with_word(word, by_title, own):
  """Returns the groups of that title; if there are none, those whose title has the word, and flags that have it."""
  said = word.casefold().replace('-', '_')
  title_has = said.replace('_', ' ')
  exact = {title: fields for title, fields in by_title.items() if title.casefold().partition(':')[0] == title_has}
  if exact:
    return exact, []
  has = lambda name: said in name
  found = {title: kept for title, fields in by_title.items()
           if (kept := fields if title_has in title.casefold() else [one for one in fields if has(one.name)])}
  kept = [flag for flag in own if has(flag.name)]
  if not found and not kept:
    names = [*(field.name for fields in by_title.values() for field in fields), *(flag.name for flag in own)]
    raise ValueError(f'help={word!r}: no group and no flag has that name.'
                     f'{nearest.question(nearest.names(word, names), "--")} Groups: {", ".join(by_title)}.')
  return found, kept


def _print_field(field, default) -> None:
  said, rows = option.of(field), option.rows(field) if field.name != 'dataset' else {}
  _print_flag(flags.FLAGS[field.name], f'{said.about.rstrip(".")}; or {said.own}.' if said.own else said.about, default,
              names=() if rows else option.choices(field) if field.name != 'dataset' else ())
  if said.alias:
    _print_wrapped(f'--{said.alias}: the same.', '  ', '      ')
  for name, row in rows.items():
    _print_wrapped(f'{name}: {row.about}', '      ', '          ')


def _print_flag(flag, says, default, *, names) -> None:
  shown = 'unset' if default is None else repr(default)  # Some flags have a choice `none`.
  if names and not says.startswith('<'):
    says = f'<{"|".join(names)}>: {says}'
  _print_wrapped(f'--{"[no]" if flag.boolean else ""}{flag.name}: {says} (default: {shown})', '  ', '      ')


def _print_wrapped(text, first, following) -> None:
  print('\n'.join(_lines(text, first, following)))


def _lines(text, first, following) -> Iterator[str]:
  yield from textwrap.wrap(text, width=100, initial_indent=first, subsequent_indent=following, break_on_hyphens=False)
