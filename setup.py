"""Installs the package `tff_vision` into an environment that already holds the lock.

No requirement is declared here, on purpose: TensorFlow Federated 0.87.0 asks for a jaxlib that the package index no
longer has, so a resolver that hears its name can only fail, with a riddle. Instead this script looks for the locked
packages itself and says what to type when they are not there.
"""

from __future__ import annotations

import pathlib
import site
import sys

import setuptools

_ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(_ROOT))  # A build front end does not put the checkout on the path.

from tff_vision.diagnosis import lock, machine  # noqa: E402
from tff_vision.diagnosis.finding import Status  # noqa: E402


def refusal() -> str | None:
  """Why the environment cannot hold `tff_vision`, and the commands that mend it; None if it can."""
  unfit = [finding for finding in (machine.platform_finding(), machine.interpreter_finding())
           if finding.status is Status.FAIL]
  if unfit:
    return '\n'.join(['', 'tff_vision cannot be installed here:', *(finding.line() for finding in unfit), ''])
  # An isolated build hides the environment's packages from sys.path, so its own folders are named.
  folders = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
  mismatch = lock.check_folder(_ROOT, lock.installed(folders))
  if not mismatch.fatal:
    return None
  return '\n'.join([
      '', 'tff_vision needs its locked packages first; pip cannot resolve them by itself. Run these two commands here:',
      '', f'    {lock.INSTALL_LOCK}', f'    {lock.INSTALL_PROJECT}', '', f'In {sys.prefix}', lock.describe(mismatch), ''])


def main() -> None:
  message = refusal()
  if message:
    raise SystemExit(message)
  setuptools.setup(
      name='tff_vision',
      version='0.1.0',
      description='Federated training of vision models with TensorFlow Federated.',
      python_requires='==3.11.*',
      packages=setuptools.find_packages(include=['tff_vision', 'tff_vision.*']),
      package_data={'': ['*.json', '*.html', '*.css', '*.npz', '*.txt']},
      zip_safe=False)


main()
