"""Memory that was freed comes back without the kernel."""

import os
import platform
import subprocess
import sys

import pytest

from tff_vision.runtime.tff_internals import allocator

# Prints how many pages the last of several passes had to get from the kernel.
_PASSES = """
import resource
for _ in range(4):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  blocks = [b'x' * (20 << 20) for _ in range(4)]
  del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_CALL = 'from tff_vision.runtime.tff_internals import allocator; allocator.keep_freed_memory()'


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc only')
@pytest.mark.parametrize('first, environment, few', [
    ('', {}, False), (_CALL, {}, True), ('', allocator.environment(), True)])
def test_freed_memory_is_kept(first, environment, few):
  clean = {name: value for name, value in os.environ.items() if name not in allocator.environment()}
  faults = int(subprocess.run([sys.executable, '-c', first + _PASSES], env=clean | environment, check=True,
                              capture_output=True, text=True).stdout)
  # 80 MB are 20,480 pages of 4 KB.
  assert (faults < 2_000) == few
