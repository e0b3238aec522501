"""Checks whether TensorFlow can use a GPU: the driver, CUDA's libraries, and the devices that TensorFlow sees.

TensorFlow 2.14 is built for CUDA 11.8 and cuDNN 8. Its own libraries name the folders of pip's nvidia packages relative
to themselves (RUNPATH), so it finds these packages in its environment, and `LD_LIBRARY_PATH` need not be set.

Everything is tried in child interpreters, because a driver may end its process, and libraries stay loaded.
"""

import json
import os
import pathlib
from collections.abc import Mapping

from tff_vision.diagnosis import libraries
from tff_vision.diagnosis.finding import Finding, Status
from tff_vision.runtime.device import cuda_compiler

REQUIREMENTS = 'requirements-gpu.txt'
INSTALL = f'pip install --no-deps -r {REQUIREMENTS}'
# What TensorFlow opens by these names, and the folder of the package `nvidia` that has it.
OPENED = {'libcudart.so.11.0': 'cuda_runtime', 'libcublas.so.11': 'cublas', 'libcublasLt.so.11': 'cublas',
          'libcufft.so.10': 'cufft', 'libcusolver.so.11': 'cusolver', 'libcusparse.so.11': 'cusparse',
          'libcudnn.so.8': 'cudnn'}
_GUIDE = 'docs/how-to/install.md, "GPUs"'
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE: there is none, or CUDA_VISIBLE_DEVICES hides all.
_OLDEST = 11000  # Drivers for CUDA 11.0, 450.80.02, and later run programs that were built for any CUDA 11.

DRIVER = """
import ctypes, json
cuda = ctypes.CDLL('libcuda.so.1')
code, version, count = cuda.cuInit(0), ctypes.c_int(), ctypes.c_int()
cuda.cuDriverGetVersion(ctypes.byref(version))
if code == 0:
  cuda.cuDeviceGetCount(ctypes.byref(count))
print(json.dumps(dict(code=code, version=version.value, count=count.value)))
"""
LOADING = f"""
import ctypes, importlib.util, json, os
found = importlib.util.find_spec('tensorflow')
site = os.path.dirname(found.submodule_search_locations[0]) if found else ''
told = dict()
for name, package in {OPENED!r}.items():
  path = os.path.join(site, 'nvidia', package, 'lib', name)
  try:
    ctypes.CDLL(path if os.path.exists(path) else name)
  except OSError as error:
    told[name] = str(error)
print(json.dumps(told))
"""
DEVICES = """
import json
import tensorflow as tf
found = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices('GPU')]
print(json.dumps([[one.get('device_name', 'a GPU'), one.get('compute_capability')] for one in found]))
"""


def driver_finding(trial: libraries.Trial) -> Finding:
  """Checks the trial of `DRIVER`: whether NVIDIA's driver is there, new enough, and has devices."""
  if trial.error:
    if 'libcuda.so.1' in trial.error and 'No such file' in trial.error:
      return Finding('gpu driver', Status.INFO, 'no NVIDIA driver here: everything is computed by the processor',
                     f'nothing, unless there is a GPU: {_GUIDE}')
    return Finding('gpu driver', Status.WARN, f'NVIDIA\'s driver cannot be used: {trial.error}', 'install it again')
  told = json.loads(trial.output)
  version = f'driver for CUDA {told["version"] // 1000}.{told["version"] % 1000 // 10}'
  if not told['count'] and told['code'] in (0, _NO_DEVICE):
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    return Finding('gpu driver', Status.WARN, f'{version} has no device',
                   'nvidia-smi lists them' if hidden is None else f'unset CUDA_VISIBLE_DEVICES={hidden}')
  if told['code']:
    return Finding('gpu driver', Status.WARN, f'{version} does not start (cuInit returns {told["code"]})',
                   'nvidia-smi says why: no permission for /dev/nvidia*, or a module of another version')
  if told['version'] < _OLDEST:
    return Finding('gpu driver', Status.WARN, f'{version} is too old for TensorFlow 2.14, which needs CUDA 11',
                   'install driver 450.80.02 or newer')
  return Finding('gpu driver', Status.OK, f'{version}, {told["count"]} device{"s" * (told["count"] > 1)}')


def libraries_finding(trial: libraries.Trial, *, driver: bool) -> Finding:
  """Checks the trial of `LOADING`: which of CUDA's libraries do not load.

  Args:
    driver: Whether there is a driver; without one, nothing needs the libraries.
  """
  if trial.error:
    return Finding('gpu libraries', Status.WARN, trial.error, f'{INSTALL} ({_GUIDE})')
  missing = json.loads(trial.output)
  if not missing:
    return Finding('gpu libraries', Status.OK, f'all {len(OPENED)} of CUDA 11.8 and cuDNN 8 load')
  if len(missing) == len(OPENED) and all('No such file' in reason for reason in missing.values()):
    told = 'CUDA 11.8 and cuDNN 8 are not installed'
  else:
    told = '; '.join(reason if name in reason else f'{name}: {reason}' for name, reason in missing.items())
  return Finding('gpu libraries', Status.WARN if driver else Status.INFO, told, f'{INSTALL} ({_GUIDE})')


def devices_finding(trial: libraries.Trial) -> Finding:
  """Checks the trial of `DEVICES`, which is made where driver and libraries are there."""
  if trial.error:
    return Finding('gpu devices', Status.WARN, trial.error, 'see tensorflow above')
  found = json.loads(trial.output.splitlines()[-1])
  if not found:
    return Finding('gpu devices', Status.WARN, 'TensorFlow sees none, although driver and libraries are there',
                   'TF_CPP_MIN_LOG_LEVEL=0 python -c "import tensorflow as tf; tf.config.list_physical_devices()" '
                   'says why')
  told = ', '.join(f'GPU:{number} {name}' + (f' (compute capability {".".join(map(str, capability))})'
                                            if capability else '') for number, (name, capability) in enumerate(found))
  return Finding('gpu devices', Status.OK, told)


def compiler_finding(site: pathlib.Path, environment: Mapping[str, str]) -> Finding:
  """Checks whether XLA finds what --jit needs on a GPU.

  Args:
    site: The folder that holds the packages `tensorflow` and `nvidia`.
    environment: The variables of a process that trains.
  """
  found = cuda_compiler.files(site, environment)
  if missing := [name for name, path in found.items() if path is None]:
    return Finding('gpu compiler', Status.WARN, f'no {" and no ".join(missing)}: --jit is refused on GPUs',
                   f'{INSTALL} ({_GUIDE})')
  return Finding('gpu compiler', Status.OK, ', '.join(map(str, found.values())))


def findings() -> list[Finding]:
  """Returns what is known about GPUs; the later checks are made only where there is a driver."""
  import importlib.util
  driver = driver_finding(libraries.try_code(DRIVER, with_devices=True))
  usable = driver.status is Status.OK
  loading = libraries_finding(libraries.try_code(LOADING, with_devices=True),
                              driver=driver.status is not Status.INFO)
  if not usable:
    # What nobody asked for is not told of.
    return [driver] if loading.status is Status.INFO else [driver, loading]
  found = [driver, loading]
  if loading.status is Status.OK:
    found.append(devices_finding(libraries.try_code(DEVICES, with_devices=True)))
  spec = importlib.util.find_spec('tensorflow')
  if spec is not None and spec.submodule_search_locations:
    found.append(compiler_finding(pathlib.Path(spec.submodule_search_locations[0]).parent, os.environ))
  return found
