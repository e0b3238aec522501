"""Flags from the fields of a config section, in groups with titles, and a section from the flags of its fields."""

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from absl import flags

from tff_vision.configs import option

Section = TypeVar('Section')


@dataclasses.dataclass(frozen=True)
class Group:
  """Flags that belong together.

  Attributes:
    title: The heading of the group in --help and in the reference.
    section: The config section whose fields they are.
    names: The names of these fields.
  """
  title: str
  section: type
  names: tuple[str, ...]

  def fields(self) -> Iterator[dataclasses.Field]:
    """Yields the fields, in the order of the section."""
    return (field for field in dataclasses.fields(self.section) if field.name in self.names)

  def only(self, *names: str) -> 'Group':
    """Returns a group with only the named fields."""
    return dataclasses.replace(self, names=names)


def of(section: type, title: str) -> tuple[Group, ...]:
  """Returns the fields of a section, one group for each topic; `title` is the title of fields without a topic."""
  by_title: dict[str, list[str]] = {}
  for field in dataclasses.fields(section):
    by_title.setdefault(option.of(field).topic or title, []).append(field.name)
  return tuple(Group(found, section, tuple(names)) for found, names in by_title.items())


def own(section: type, title: str) -> tuple[Group, ...]:
  """Returns the same as `of`, but without the fields that the section inherits from the section it extends."""
  shared = {field.name for base in section.__mro__[1:] if dataclasses.is_dataclass(base)
            for field in dataclasses.fields(base)}
  return tuple(dataclasses.replace(group, names=tuple(name for name in group.names if name not in shared))
               for group in of(section, title))


def define(groups: Sequence[Group]) -> None:
  """Defines the flags of these groups in absl; flags that are already defined do not change."""
  for group in groups:
    types_of = typing.get_type_hints(group.section)
    for field in group.fields():
      if field.name not in flags.FLAGS:
        _define(field, types_of[field.name])


def flags_of(groups: Sequence[Group]) -> list[flags.Flag]:
  """Returns the flags of these groups; they must be defined already."""
  return [flags.FLAGS[name] for group in groups for name in group.names]


def given(groups: Sequence[Group]) -> list[flags.Flag]:
  """Returns the flags of these groups that were given, on the command line or in a flag file."""
  return [flag for flag in flags_of(groups) if flag.present]


def read(base: Section) -> Section:
  """Returns `base` with the value of every flag that was given.

  Args:
    base: A config section; every field has a flag of its name.

  Raises:
    ValueError: A value is illegal.
  """
  fields = {field.name: field for field in dataclasses.fields(base)}  # type: ignore[arg-type]
  values = {name: flags.FLAGS[name].value for name in fields if flags.FLAGS[name].present}
  for name, value in values.items():
    if name == 'imports' and value:
      values[name] = [os.path.abspath(os.path.expanduser(each)) if each.endswith('.py') else each for each in value]
    elif option.of(fields[name]).path and value is not None:
      if not value:  # As a shell leaves it of a variable that is not set: it would be the working directory.
        raise ValueError(f'{name} is empty: name a file or a folder, or leave it out.')
      # A run may be continued and evaluated from any working directory.
      values[name] = os.path.abspath(os.path.expanduser(value))
  return dataclasses.replace(base, **{  # type: ignore[type-var]
      name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def made(section: type[Section]) -> Section:
  """Returns a section with the values of its flags; for a section that has fields without a default.

  Raises:
    ValueError: A field without a default is missing, or a value is illegal.
  """
  fields = dataclasses.fields(section)  # type: ignore[arg-type]
  values = {field.name: flags.FLAGS[field.name].value for field in fields}
  for field in fields:
    if field.default is dataclasses.MISSING and values[field.name] is None:
      raise ValueError(f'{field.name} is missing.')
  return section(**values)


def text(field: dataclasses.Field) -> str:
  """Returns the description of a field, with the names that it takes and the user's objects that it takes."""
  said, names = option.of(field), option.choices(field)
  if not said.own:
    return said.about
  listed = f': {", ".join(names)}' if names and field.name != 'dataset' else ''
  return f'{said.about.rstrip(".")}{listed}; or {said.own}.'


class _WordOrNot(flags.BooleanParser):
  """Parses a switch that can also be a word, such as --resume and --resume=auto; the config checks the word."""

  def parse(self, argument: Any) -> bool | str:  # type: ignore[override]
    try:
      return super().parse(argument)
    except ValueError:
      return str(argument).casefold()


def _define(field, hinted):
  name, about = field.name, text(field)
  default = None if field.default is dataclasses.MISSING else field.default
  parts = [part for part in typing.get_args(hinted) if part is not types.NoneType]
  kind = parts[0] if isinstance(hinted, types.UnionType) else typing.get_origin(hinted) or hinted
  names = option.choices(field)
  if kind is bool and str in parts:
    flags.DEFINE_flag(flags.Flag(_WordOrNot(), flags.ArgumentSerializer(), name, default, about, boolean=True))
  elif kind is tuple:
    (flags.DEFINE_list if option.of(field).separated else flags.DEFINE_multi_string)(name, default, about)
  elif names and not option.of(field).own:
    flags.DEFINE_enum(name, default, names, about)
  else:
    {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string,
     Any: flags.DEFINE_string}[kind](name, default, about)
  if alias := option.of(field).alias:
    flags.DEFINE_alias(alias, name)
