"""Renders HTML pages from the templates in this folder: self-contained, without scripts, every value escaped."""

import base64
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tff_vision.program import whole_file
from tff_vision.report import number_format as numbers


def render(template: str, values: Mapping[str, Any]) -> str:
  """Returns the page that a template makes from `values`."""
  import jinja2  # Imported late, like matplotlib, so that --help starts fast.
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True,
      undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
  environment.filters.update(png=_data_uri, number=numbers.data, duration=numbers.duration)
  return environment.get_template(template).render(values)


def write(path: os.PathLike | str, page: str) -> None:
  """Writes a page; an existing page is replaced atomically.

  Raises:
    ValueError: The file cannot be written.
  """
  whole_file.write(path, page)


def _data_uri(png: bytes) -> str:
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
