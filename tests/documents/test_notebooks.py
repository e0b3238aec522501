"""The notebooks run from their first cell to their last, and what is committed of their outputs is small."""

import json
import pathlib
import sys

import nbformat
import pytest

from tests.documents import commands

NOTEBOOKS = sorted((commands.ROOT / 'notebooks').glob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_small_and_hold_no_error(path):
  notebook = nbformat.read(path, 4)
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  assert all(cell.execution_count == i for i, cell in enumerate(code, 1)), 'execute it from top to bottom'
  outputs = [output for cell in code for output in cell.outputs]
  assert not [output for output in outputs if output.output_type == 'error']
  assert len(json.dumps(outputs)) < 150_000
  assert str(pathlib.Path.home()) not in json.dumps(outputs)


@pytest.mark.ci
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, monkeypatch):
  import nbclient
  monkeypatch.setenv('TFF_VISION_PYTHON', sys.executable)
  monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '3')
  nbclient.NotebookClient(nbformat.read(path, 4), timeout=900,
                          resources={'metadata': {'path': str(path.parent)}}).execute()


@pytest.mark.ci
def test_the_first_notebook_runs_where_there_is_no_checkout(tmp_path, monkeypatch):
  """As in Colab: it clones what it is told, and runs the pipelines of the clone."""
  import nbclient
  if not (commands.ROOT / '.git').exists():
    pytest.skip('a clone needs a repository')
  notebook = nbformat.read(NOTEBOOKS[0], 4)
  cell = next(cell for cell in notebook.cells if "REPOSITORY = ''" in cell.source)
  cell.source = cell.source.replace("REPOSITORY = ''", f"REPOSITORY = 'file://{commands.ROOT}'")
  monkeypatch.setenv('TFF_VISION_PYTHON', sys.executable)
  monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '3')
  nbclient.NotebookClient(notebook, timeout=900, resources={'metadata': {'path': str(tmp_path)}}).execute()
  assert list((tmp_path / 'tff_vision' / 'runs').glob('*/*/report.html'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_quiet(path):
  outputs = json.dumps([cell.outputs for cell in nbformat.read(path, 4).cells if cell.cell_type == 'code'])
  assert not [word for word in ('INFO:tensorflow', 'WARNING:tensorflow', '_steps', 'Traceback') if word in outputs]
