"""Every script of pipelines and benchmarks calls the launcher with arguments that it takes."""

import ast
import inspect
import pathlib

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
