"""Scripts of pipelines and benchmarks call the launcher with arguments that it takes; when it looks for garbage."""

import ast
import inspect
import pathlib
import subprocess
import sys

from pipelines import launch

ROOT = pathlib.Path(launch.__file__).parent.parent


def test_every_call_of_the_launcher_fits_its_parameters():
  signature, calls = inspect.signature(launch.launch), 0
  for path in (*ROOT.glob('pipelines/*.py'), *ROOT.glob('benchmarks/**/*.py')):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call) and ast.unparse(node.func) == 'launch.launch':
        calls += 1
        try:
          signature.bind(*node.args, **{keyword.arg: keyword.value for keyword in node.keywords})
        except TypeError as error:
          raise AssertionError(f'{path.relative_to(ROOT)}:{node.lineno}: {error}') from None
  assert calls > 20


def test_garbage_is_looked_for_late_and_not_at_the_end():
  script = """
import atexit, gc
from pipelines import launch
def main():
  print(gc.get_threshold()[0])
  for _ in range(2):
    gc.collect()
    print(gc.get_threshold()[0])
atexit.register(lambda: print('frozen' if gc.get_freeze_count() > 1000 else 'not frozen'))
launch.launch(main, flag_groups=())
"""
  done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.split('\n') == ['2000000', '100000', '100000', 'frozen', '']
