"""Fields of configs, each with the one text that says what it means: flags, --help and the reference come from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_vision import catalogue
from tff_vision.configs import validate

_KEY = 'option'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
  """The description of a field.

  Attributes:
    about: The text of its flag, of --help and of the reference.
    topic: The title under which it is shown; empty: the title of its section.
    choices: The legal values, if the catalogue has no rows for the field.
    own: In words, which user's objects it takes in addition to the catalogue's names; empty: none from a command line.
    separated: For several values: whether one flag holds all of them, separated by commas; otherwise the flag is
      repeated.
    path: Whether it names a file or folder of the experiment itself.
    alias: Another name of its flag.
    most: Of a number that must be positive where it is given: the largest legal one; None: nothing is checked here.
  """
  about: str
  topic: str = ''
  choices: tuple[str, ...] = ()
  own: str = ''
  separated: bool = False
  path: bool = False
  alias: str = ''
  most: int | None = None


def option(default: Any, about: str, *, topic: str = '', choices: tuple[str, ...] = (), own: str = '',
           separated: bool = False, path: bool = False, alias: str = '', most: int | None = None) -> Any:
  """Returns a dataclass field. Args: as for `Option`."""
  return dataclasses.field(default=default, metadata={_KEY: Option(
      about=about, topic=topic, choices=choices, own=own, separated=separated, path=path, alias=alias,
      most=most)})


def required(about: str) -> Any:
  """Returns a dataclass field without a default; its flag must be given."""
  return dataclasses.field(metadata={_KEY: Option(about=about)})


def of(field: dataclasses.Field) -> Option:
  """Returns the description of a field."""
  return field.metadata[_KEY]


def choices(field: dataclasses.Field) -> tuple[str, ...]:
  """Returns the names that a field takes; empty where it takes any value of its type."""
  return of(field).choices or tuple(rows(field))


def rows(field: dataclasses.Field) -> Mapping[str, catalogue.Row]:
  """Returns the catalogue's rows for the names that a field takes; empty if it has other choices or no choices."""
  return catalogue.KINDS[field.name].rows if field.name in catalogue.KINDS and not of(field).choices else {}


def check_choices(section: Any) -> None:
  """Refuses a name that a field does not take.

  A user's own object is accepted if the catalogue allows one for the field. Names of data sets are checked only when
  the data sets are read.

  Raises:
    ValueError: Names the field and the choices.
  """
  for field in dataclasses.fields(section):
    value, names = getattr(section, field.name), choices(field)
    if not names or value is None and field.default is None or field.name == 'dataset':
      continue
    if of(field).own:
      validate.one_of_or_own(names, **{field.name: value})
    elif isinstance(value, str) or field.name not in catalogue.KINDS or catalogue.KINDS[field.name].own is None:
      validate.one_of(names, **{field.name: value})


def check_numbers(section: Any) -> None:
  """Refuses numbers that are given and are not positive, or above the `most` of their fields.

  Raises:
    ValueError: Names the field.
  """
  for field in dataclasses.fields(section):
    value, most = getattr(section, field.name), of(field).most
    if value is not None and most is not None:
      validate.positive(**{field.name: value})
      validate.at_most(most, **{field.name: value})


def changed(section: Any) -> dict[str, Any]:
  """Returns the fields of a section that differ from their defaults."""
  return {field.name: value for field in dataclasses.fields(section)
          if (value := getattr(section, field.name)) is not field.default and value != field.default}
