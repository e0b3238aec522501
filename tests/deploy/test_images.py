"""The Dockerfiles: what they copy and run is in the checkout, and they install what the locks say."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FILES = ('Dockerfile', 'deploy/Dockerfile', 'deploy/Dockerfile.gpu')


def _instructions(name):
  """Returns (instruction, rest) of each instruction, continued lines joined."""
  text = re.sub(r'\\\n\s*', '', (ROOT / name).read_text())
  return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip() and not line.startswith('#')]


@pytest.mark.parametrize('name', FILES)
def test_what_is_copied_is_there_and_what_is_installed_is_locked(name):
  steps = _instructions(name)
  copied = []
  for instruction, rest in steps:
    words = [word for word in rest.split() if not word.startswith('--')]
    if instruction == 'COPY' and '--from' not in rest:
      copied += words[:-1]
  assert copied and all((ROOT / source).exists() for source in copied)
  installs = [rest for instruction, rest in steps if instruction == 'RUN' and 'pip install' in rest]
  assert installs and all('--no-deps' in one for one in installs)
  for file in re.findall(r'/tmp/(requirements[\w-]*\.txt)', ' '.join(installs)):
    assert file in copied and (ROOT / file).is_file()
  assert all('python:3.11' in rest or 'debian' in rest for instruction, rest in steps if instruction == 'FROM')


@pytest.mark.parametrize('name', ('Dockerfile', 'deploy/Dockerfile.gpu'))
def test_it_runs_a_pipeline_as_nobody_in_particular(name):
  steps = _instructions(name)
  assert json.loads(dict(steps)['ENTRYPOINT']) == ['python', '-m']
  (module,) = json.loads(dict(steps)['CMD'])
  assert (ROOT / f'{module.replace(".", "/")}.py').is_file()
  assert dict(steps)['USER'] == 'trainer'
  text = (ROOT / name).read_text()
  assert all((ROOT / f'{module.replace(".", "/")}.py').is_file() for module in re.findall(r'pipelines\.\w+', text))
  assert f'docker build {"" if name == "Dockerfile" else f"-f {name} "}-t' in text


def test_the_image_for_gpus_is_the_other_one_with_the_libraries_of_cuda():
  plain, cuda = _instructions('Dockerfile'), _instructions('deploy/Dockerfile.gpu')
  added = [rest for instruction, rest in cuda if (instruction, rest) not in plain]
  assert any('-r /tmp/requirements-gpu.txt' in rest for rest in added)
  assert any('NVIDIA_DRIVER_CAPABILITIES=compute,utility' in rest for rest in added)
  left = {step for step in plain if step not in cuda}
  assert all(step[0] in ('COPY', 'RUN') and 'requirements' in step[1] for step in left)
