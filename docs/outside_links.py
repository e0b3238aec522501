"""MkDocs hook: a file of the checkout that a page links to, such as a notebook, becomes a file of the site."""

import os
import pathlib
import re

from mkdocs.exceptions import PluginError
from mkdocs.structure import files as mkdocs_files

_ROOT = pathlib.Path(__file__).parents[1]
_LINK = re.compile(r'\]\(((?:\.\./)+[^)#\s]+)\)')


def on_files(files, config):
  """Adds what pages link to outside of docs/.

  Raises:
    PluginError: Such a file does not exist, or is a page of Markdown, whose own links would end nowhere.
  """
  for page in list(files.documentation_pages()):
    for target in _outside(page.src_uri, page.content_string):
      path = _ROOT / target
      if not path.is_file() or path.suffix == '.md':
        raise PluginError(f'{page.src_uri} links to {target}, which is no file that the site could hold.')
      if files.get_file_from_path(f'files/{target}') is None:
        files.append(mkdocs_files.File.generated(config, f'files/{target}', abs_src_path=str(path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Points links outside of docs/ to the copies."""
  here = os.path.dirname(page.file.src_uri)

  def replaced(match):
    target = _target(page.file.src_uri, match.group(1))
    return match.group(0) if target is None else f']({os.path.relpath(f"files/{target}", here or ".")})'
  return _LINK.sub(replaced, markdown)


def _outside(uri, text):
  return {target for link in _LINK.findall(text) if (target := _target(uri, link)) is not None}


def _target(uri, link):
  """The path in the checkout of a link that leaves docs/; None: it does not."""
  path = os.path.normpath(os.path.join('docs', os.path.dirname(uri), link))
  return None if path.startswith('docs/') else path
