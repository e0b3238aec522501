"""Shows a run while it trains, in a browser on this machine; reads the run's folder and changes nothing.

    python -m pipelines.watch --run_dir=runs/fashion
    python -m pipelines.watch --run_dir=runs

The page is the report as of the latest evaluation, and loads itself again. For a folder of runs, such as a sweep's, a
list of them comes first. Only what a run releases is served, never its folder secret/, and only to this machine. The
command for TensorBoard, which shows every round, is printed and stands above the page. /metrics is for Prometheus: the
latest of every number that is released. Ctrl-C ends it.
"""

import pathlib

from absl import flags

from pipelines import launch

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a run, or of several runs.')
_PORT = flags.DEFINE_integer('port', 8000, 'Port on localhost; 0 takes a free one.')


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a run, or of several runs.')
  if not 0 <= _PORT.value <= 65535:
    raise ValueError(f'port must lie in 0..65535, found {_PORT.value}.')
  folder = pathlib.Path(_RUN_DIR.value)
  if not folder.is_dir():
    raise ValueError(f'run_dir={str(folder)!r} is no folder; train with --run_dir={folder} first.')

  from tff_vision.report import live_server
  try:
    server = live_server.LiveServer(folder, port=_PORT.value)
  except OSError as error:
    raise ValueError(f'port={_PORT.value} cannot be used: {error.strerror}; --port=0 takes a free one.') from None
  with server:
    print(f'page:        {server.url}\nPrometheus:  {server.url}metrics\nTensorBoard: {live_server.tensorboard_command(folder)}', flush=True)
    server.serve_forever()


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
