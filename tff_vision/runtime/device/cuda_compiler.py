"""The files of CUDA that XLA needs to compile for a GPU, and the folders where it looks for them."""

import os
import pathlib
import re
from collections.abc import Mapping

ASSEMBLER, MATHEMATICS = 'ptxas', 'libdevice.10.bc'
OF_SYSTEM = (pathlib.Path('/usr/local/cuda-11.8'), pathlib.Path('/usr/local/cuda'), pathlib.Path())


def files(site: pathlib.Path, environment: Mapping[str, str]) -> Mapping[str, pathlib.Path | None]:
  """Returns where each of these files is; None: XLA does not find it.

  Without the assembler XLA ends the process; without the library of functions, such as exp, compilation fails.

  Args:
    site: The folder that holds the packages `tensorflow` and `nvidia`.
    environment: The variables of the process, of which XLA reads PATH and XLA_FLAGS.
  """
  named = re.findall(r'--xla_gpu_cuda_data_dir=(\S+)', environment.get('XLA_FLAGS', ''))
  roots = [*map(pathlib.Path, named), site / 'nvidia' / 'cuda_nvcc', *OF_SYSTEM]
  searched = map(pathlib.Path, filter(None, environment.get('PATH', '').split(os.pathsep)))
  assemblers = [folder / ASSEMBLER for folder in [*(root / 'bin' for root in roots), *searched]]
  libraries = [root / 'nvvm' / 'libdevice' / MATHEMATICS for root in roots]
  return {ASSEMBLER: next((path for path in assemblers if path.is_file() and os.access(path, os.X_OK)), None),
          MATHEMATICS: next((path for path in libraries if path.is_file()), None)}
