"""Serves the released files of runs on this machine, read-only, while they train."""

import html
import http
import http.server
import pathlib
import re
import shlex
import socketserver
import sys
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tff_vision.program import run_paths
from tff_vision.report import prometheus

# The released files of a run that a browser shows; nothing else in its folder is served.
_SERVED = {'report.html': 'text/html; charset=utf-8', 'report.json': 'application/json',
           'config.json': 'application/json', 'metrics.csv': 'text/plain; charset=utf-8',
           'model_card.md': 'text/plain; charset=utf-8'}
# Of a folder of runs.
_PAGES = ('sweep.html', 'comparison.html')
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
_SECONDS = 5
_STYLE = ('body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1a2330;'
          'background:#f3f5f8}code{background:#fff;padding:.1rem .3rem;overflow-wrap:anywhere}a{color:#1f5fa8}'
          'li{margin:.3rem 0}@media(prefers-color-scheme:dark){body{color:#e8ecf1;background:#12171e}'
          'code{background:#1b222c}a{color:#7db3ee}}')


def tensorboard_command(folder: pathlib.Path) -> str:
  """Returns the command that shows the rounds of the runs in a folder."""
  logdir = folder / 'logdir' if (folder / 'config.json').exists() else folder
  return f'{shlex.quote(sys.executable)} -m tensorboard.main --logdir={shlex.quote(str(logdir))}'


def runs_in(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the runs directly below a folder, sorted by name."""
  for path in sorted(folder.iterdir()):
    if path.is_dir() and (path / 'config.json').is_file():
      yield path


def state_of(run: pathlib.Path) -> str:
  """Returns in words how far a run is, from its released files."""
  paths = run_paths.RunPaths(run)
  if paths.report_json.exists():
    return 'finished'
  rounds = prometheus.planned_rounds(paths)
  if rounds is None or not paths.metrics.is_file():
    return 'begun'
  return f'round {max(0, len(paths.metrics.read_bytes().splitlines()) - 1)} of {rounds}'


class LiveServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
  """A server of one run, or of the runs in one folder, on 127.0.0.1; also a context manager.

  Attributes:
    folder: The folder that is shown.
    url: Where a browser finds it.
  """
  daemon_threads = True

  def __init__(self, folder: pathlib.Path, *, port: int):
    """Binds the port; 0 takes a free one.

    Raises:
      OSError: The port is taken or not allowed.
    """
    self.folder = folder
    super().__init__(('127.0.0.1', port), _Handler)

  @property
  def url(self) -> str:
    return f'http://127.0.0.1:{self.server_address[1]}/'

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Says nothing of browsers that hang up."""


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers GET and HEAD with released files."""
  server: LiveServer
  server_version = 'tff_vision'
  sys_version = ''

  def do_GET(self) -> None:
    self._answer(body=True)

  def do_HEAD(self) -> None:
    self._answer(body=False)

  def log_message(self, format: str, *args: Any) -> None:
    """Prints nothing."""

  def _answer(self, *, body):
    # A page of another site whose name was pointed at this machine must not read the run.
    # At port 80, browsers name none.
    if re.sub(r':\d*$', '', self.headers.get('Host', '')) not in ('127.0.0.1', 'localhost'):
      self.send_error(http.HTTPStatus.FORBIDDEN, 'Only localhost is served')
      return
    try:
      found = self._find(urllib.parse.unquote(urllib.parse.urlsplit(self.path).path))
    except OSError:  # The folder was moved or taken away.
      found = None
    if found is None:
      self.send_error(http.HTTPStatus.NOT_FOUND, 'There is nothing of that name to show')
      return
    kind, content = found
    self.send_response(http.HTTPStatus.OK)
    for name, value in (('Content-Type', kind), ('Content-Length', str(len(content))), ('Cache-Control', 'no-store'),
                        ('Content-Security-Policy', _POLICY), ('X-Content-Type-Options', 'nosniff'),
                        ('Referrer-Policy', 'no-referrer')):
      self.send_header(name, value)
    self.end_headers()
    if body:
      self.wfile.write(content)

  def _find(self, path):
    """Returns content type and content, or None. A path is `/`, `/FILE`, `/RUN/` or `/RUN/FILE`, of known names."""
    folder, parts = self.server.folder, path.split('/')[1:]
    runs = {run.name: run for run in runs_in(folder)}
    if parts == ['metrics']:
      one = (folder / 'config.json').is_file()
      return prometheus.CONTENT_TYPE, prometheus.exposition({folder.name: folder} if one else runs)
    if len(parts) == 2 and parts[0] in runs:
      return _of_run(runs[parts[0]], parts[1], link='../')
    if len(parts) != 1:
      return None
    if (folder / 'config.json').is_file():
      return _of_run(folder, parts[0], link='')
    if parts[0] in _PAGES and (folder / parts[0]).is_file():
      return _SERVED['report.html'], (folder / parts[0]).read_bytes()
    return None if parts[0] else (_SERVED['report.html'], _list(folder, runs))


def _of_run(run, name, *, link):
  if name in _SERVED and (run / name).is_file():
    return _SERVED[name], (run / name).read_bytes()
  if name not in ('', 'report.html'):
    return None
  bar = _bar(run, link)
  if not (run / 'report.html').is_file():
    waits = f'<p role="status">{html.escape(state_of(run))}: the page comes with the first evaluation.</p>'
    return _SERVED['report.html'], _page(run.name, bar + waits, again=True)
  page = (run / 'report.html').read_text('utf-8', errors='replace')
  return _SERVED['report.html'], page.replace('<body>', f'<body>\n<nav style="padding:1rem">{bar}</nav>', 1).encode()


def _bar(run, link):
  there = [name for name in _SERVED if name != 'report.html' and (run / name).is_file()]
  files = ' '.join(f'<a href="{name}">{name}</a>' for name in there)
  back = f'<a href="{link}">all runs</a> ' if link else ''
  return f'<p>{back}{files}</p><p>{_board(run)}</p>'


def _board(folder):
  return f'Every round in TensorBoard: <code>{html.escape(tensorboard_command(folder))}</code>'


def _list(folder, runs):
  pages = ' '.join(f'<a href="{name}">{name}</a>' for name in _PAGES if (folder / name).is_file())
  rows = ''.join(f'<li><a href="{urllib.parse.quote(name)}/">{html.escape(name)}</a>: {html.escape(state_of(run))}</li>'
                 for name, run in runs.items())
  return _page(folder.name, f'<p>{pages}</p><ul>{rows or "<li>no run yet</li>"}</ul><p>{_board(folder)}</p>',
               again=True)


def _page(title, body, *, again):
  refresh = f'<meta http-equiv="refresh" content="{_SECONDS}">' if again else ''
  return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{refresh}<meta name="viewport" '
          f'content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
          f'</head><body><main><h1>{html.escape(title)}</h1>{body}</main></body></html>').encode()
