"""Renders HTML pages from the templates in this folder: self-contained, without scripts, every value escaped."""

import base64
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

import markupsafe

from tff_vision.program import whole_file
from tff_vision.report import number_format as numbers
from tff_vision.report import palette

_MOST_NUMBER, _MOST_NAME = 32, 20  # Letters of a cell, and of the name of a row, that are never broken into lines.


def render(template: str, values: Mapping[str, Any]) -> str:
  """Returns the page that a template makes from `values`."""
  import jinja2  # Imported late, like matplotlib, so that --help starts fast.
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True,
      undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
  environment.filters.update(
      png=_data_uri, number=numbers.data, duration=numbers.duration, is_words=_is_words, shell=shlex.quote,
      glued=_glued, breakable=_breakable)
  environment.globals['colors'] = markupsafe.Markup(palette.css())
  return environment.get_template(template).render(values)


def write(path: os.PathLike | str, page: str) -> None:
  """Writes a page; an existing page is replaced atomically.

  Raises:
    ValueError: The file cannot be written.
  """
  whole_file.write(path, page)


def _glued(text: str) -> str:
  """Returns a sentence in which no line breaks between a number and its percent sign."""
  return text.replace(' %', '\u00a0%')


def _breakable(path: object) -> markupsafe.Markup:
  """Returns a path that may be broken into lines behind its slashes and underscores."""
  escaped = str(markupsafe.escape(path))
  return markupsafe.Markup(escaped.replace('/', '/<wbr>').replace('_', '_<wbr>'))


def _is_words(cell: object, *, name: bool = False) -> bool:
  """Returns whether a cell holds a sentence, which may be broken between words; numbers and short texts may not."""
  text = cell.striptags() if isinstance(cell, markupsafe.Markup) else str(cell)
  return len(text) > (_MOST_NAME if name else _MOST_NUMBER) and ' ' in text


def _data_uri(png: bytes) -> str:
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
