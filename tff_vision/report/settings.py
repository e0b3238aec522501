"""The settings of a run in report.html: what differs from the defaults, and the rest."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_vision import configs, plugins
from tff_vision.report import number_format as numbers
from tff_vision.report import tables

# Settings whose value the run itself decided: (section, name) -> where report.json tells what was in effect.
_EFFECTIVE = {
    ('program', 'rounds'): ('rounds',), ('data', 'num_clients'): ('dataset', 'num_clients'),
    ('privacy', 'noise_multiplier'): ('privacy', 'noise_multiplier'), ('privacy', 'delta'): ('privacy', 'delta'),
    ('privacy', 'clip_norm'): ('privacy', 'clip_norm')}


def changed(report: Mapping) -> tables.Table | None:
  """Returns every setting that differs from its default, or that the run itself decided, with what was in effect."""
  rows = []
  for section, fields in _sections(report):
    usual = defaults(section)
    for name, value in fields.items():
      effective = _effective(report, section, name, value)
      if name not in usual or value != usual[name] or effective != value:
        default = numbers.exact(usual[name]) if name in usual else numbers.MISSING
        rows.append([name, numbers.exact(effective), default, numbers.heading(section)])
  return tables.Table(caption='Settings that differ from the defaults', header=['setting', 'value', 'default', 'group'],
                      rows=rows) if rows else None


def every(report: Mapping) -> list[tables.Table]:
  """Returns one table for each section of the config, with unrounded values."""
  return [tables.Table(caption=numbers.heading(section), header=['setting', 'value'],
                       rows=[[key, numbers.exact(value)] for key, value in fields.items()])
          for section, fields in _sections(report)]


def defaults(section: str) -> dict[str, Any]:
  """Returns the defaults of a section of the config, as config.json writes them; {} if there is no such section."""
  kind = configs.sections().get(section)
  if kind is None:
    return {}
  return {field.name: plugins.describe(field.default) for field in dataclasses.fields(kind)
          if field.default is not dataclasses.MISSING}


def _sections(report):
  return [(section, fields) for section, fields in tables.part(report, 'config').items()
          if isinstance(fields, Mapping) and fields]


def _effective(report, section, name, value):
  if (section, name) == ('cohort', 'cohort_size'):  # A cohort has at most all clients.
    most = tables.part(report, 'dataset').get('num_clients')
    return min(value, most) if numbers.is_finite(value) and numbers.is_finite(most) else value
  found: object = report
  for key in _EFFECTIVE.get((section, name), ()):
    found = found.get(key) if isinstance(found, Mapping) else None
  if (section, name) not in _EFFECTIVE or found is None:
    return value
  return found
