"""A config section from the flags of the same names."""

import dataclasses
from typing import TypeVar

from absl import flags

Section = TypeVar('Section')


def read(base: Section) -> Section:
  """Returns `base` with the value of every flag that was given, on the command line or in a flagfile.

  Args:
    base: A config section; every field has a flag of its name.

  Raises:
    ValueError: A value is illegal.
  """
  found = {field.name: flags.FLAGS[field.name] for field in dataclasses.fields(base)}
  given = {name: flag.value for name, flag in found.items() if flag.present}
  return dataclasses.replace(base, **{
      name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
