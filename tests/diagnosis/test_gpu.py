"""GPUs as the doctor sees them: drivers and libraries that are faked, and what is really here."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from tff_vision.diagnosis import gpu, libraries
from tff_vision.diagnosis.finding import Status
from tff_vision.runtime.device import cuda_compiler


def _driver(**told):
  return libraries.Trial(output=json.dumps(dict(code=0, version=12020, count=1) | told))


@pytest.mark.parametrize('trial, status, words', [
    (_driver(), Status.OK, 'driver for CUDA 12.2, 1 device'),
    (_driver(count=4, version=11080), Status.OK, 'CUDA 11.8, 4 devices'),
    (_driver(version=10020), Status.WARN, '10.2 is too old'),
    (_driver(code=100, count=0), Status.WARN, 'has no device'),
    (_driver(code=999, count=0), Status.WARN, 'does not start (cuInit returns 999)'),
    (_driver(count=0), Status.WARN, 'has no device'),
    (libraries.Trial(output='', error='OSError: libcuda.so.1: cannot open shared object file: No such file or '
                     'directory'), Status.INFO, 'no NVIDIA driver'),
    (libraries.Trial(output='', error='OSError: libcuda.so.1: file too short'), Status.WARN, 'file too short'),
    (libraries.Trial(output='', error='ended by SIGSEGV'), Status.WARN, 'SIGSEGV'),
])
def test_the_driver(trial, status, words):
  finding = gpu.driver_finding(trial)
  assert finding.status is status and words in finding.message


def test_hidden_devices_are_named_as_the_reason(monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
  for code in (0, 100):  # CUDA says either.
    assert gpu.driver_finding(_driver(count=0, code=code)).mend == 'unset CUDA_VISIBLE_DEVICES=-1'
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
  assert gpu.driver_finding(_driver(count=0, code=100)).mend == 'nvidia-smi lists them'


@pytest.mark.parametrize('devices, status, words', [
    ([['NVIDIA A', [8, 0]], ['a GPU', None]], Status.OK, 'GPU:0 NVIDIA A (compute capability 8.0), GPU:1 a GPU'),
    ([], Status.WARN, 'sees none'),
])
def test_devices(devices, status, words):
  finding = gpu.devices_finding(libraries.Trial(output=json.dumps(devices)))
  assert finding.status is status and words in finding.message


@pytest.fixture
def installed(tmp_path, monkeypatch):
  """Returns the folder of an environment whose TensorFlow is empty, and whose CUDA libraries are any library."""
  some = next(line.split()[-1] for line in pathlib.Path('/proc/self/maps').read_text().splitlines()
              if '/libm.so' in line or '/libm-' in line)
  (tmp_path / 'tensorflow').mkdir()
  (tmp_path / 'tensorflow' / '__init__.py').write_text('')
  for name, package in gpu.OPENED.items():
    folder = tmp_path / 'nvidia' / package / 'lib'
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(some, folder / name)
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  return tmp_path


def _libraries(driver=True):
  return gpu.libraries_finding(libraries.try_code(gpu.LOADING, with_devices=True), driver=driver)


def test_libraries_are_found_beside_tensorflow_and_what_is_missing_or_broken_is_named(installed):
  assert _libraries().status is Status.OK
  cudnn = installed / 'nvidia' / 'cudnn' / 'lib' / 'libcudnn.so.8'
  cudnn.write_bytes(b'cut')
  broken = _libraries()
  assert broken.status is Status.WARN and 'libcudnn.so.8: file too short' in broken.message
  assert broken.mend.startswith('pip install --no-deps -r requirements-gpu.txt')
  cudnn.unlink()
  missing = _libraries()
  assert 'libcudnn.so.8: cannot open' in missing.message and 'cublas' not in missing.message
  shutil.rmtree(installed / 'nvidia')
  assert 'not installed' in _libraries().message
  assert _libraries(driver=False).status is Status.INFO, 'nothing needs them'


def test_what_xla_compiles_with_is_that_of_the_package_or_of_the_folders_that_are_named(tmp_path, monkeypatch):
  monkeypatch.setattr(cuda_compiler, 'OF_SYSTEM', ())
  other = tmp_path / 'cuda'
  environment = {'PATH': str(other / 'bin')}
  finding = gpu.compiler_finding(tmp_path, environment)
  assert finding.status is Status.WARN and 'no ptxas and no libdevice.10.bc: --jit is refused' in finding.message
  (other / 'bin').mkdir(parents=True)
  assembler, functions = other / 'bin' / 'ptxas', other / 'nvvm' / 'libdevice' / 'libdevice.10.bc'
  assembler.write_text('')
  assert 'no ptxas' in gpu.compiler_finding(tmp_path, environment).message, 'it cannot be executed'
  assembler.chmod(0o755)
  assert gpu.compiler_finding(tmp_path, environment).message.startswith('no libdevice.10.bc: ')
  functions.parent.mkdir(parents=True)
  functions.write_text('')
  assert gpu.compiler_finding(tmp_path, environment).status is Status.WARN, 'XLA looks on the path for programs only'
  named = environment | {'XLA_FLAGS': f'--xla_a=b --xla_gpu_cuda_data_dir={other}'}
  assert gpu.compiler_finding(tmp_path, named).message == f'{assembler}, {functions}'
  shutil.copytree(other, tmp_path / 'nvidia' / 'cuda_nvcc')
  found = gpu.compiler_finding(tmp_path, environment)
  assert found.status is Status.OK and found.message.count(str(tmp_path / 'nvidia' / 'cuda_nvcc')) == 2


@pytest.mark.skipif(shutil.which('cc') is None, reason='no C compiler is installed')
def test_a_machine_with_a_driver_and_no_libraries_is_told_what_to_install(installed, monkeypatch):
  """The driver is a library of our own, so its calls are real."""
  source = installed / 'cuda.c'
  source.write_text('int cuInit(unsigned f) { return 0; }\n'
                    'int cuDriverGetVersion(int* v) { *v = 11040; return 0; }\n'
                    'int cuDeviceGetCount(int* n) { *n = 2; return 0; }\n')
  subprocess.run(['cc', '-shared', '-fPIC', '-o', str(installed / 'libcuda.so.1'), str(source)], check=True)
  monkeypatch.setenv('LD_LIBRARY_PATH', str(installed))
  shutil.rmtree(installed / 'nvidia')
  monkeypatch.setenv('PATH', os.defpath)
  driver, loading, assembler = gpu.findings()
  assert (driver.status, driver.message) == (Status.OK, 'driver for CUDA 11.4, 2 devices')
  assert loading.status is Status.WARN and 'requirements-gpu.txt' in loading.mend
  assert assembler.status in (Status.OK, Status.WARN)


def test_without_a_driver_one_line_says_so(monkeypatch):
  monkeypatch.setenv('LD_LIBRARY_PATH', '/nowhere')
  if gpu.driver_finding(libraries.try_code(gpu.DRIVER, with_devices=True)).status is not Status.INFO:
    pytest.skip('this machine has a driver')
  assert [finding.name for finding in gpu.findings()][:1] == ['gpu driver']
  assert all(finding.status in (Status.OK, Status.INFO) for finding in gpu.findings())
