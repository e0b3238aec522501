"""Limits the memory that glibc keeps after it was freed, in executors and in this process.

Tensors and messages of a model's size are allocated again for every client and every round. Returning this memory to
the kernel each time costs page faults: 15-20 % of a round in executors and 10 ms of each round in the driver. Without
glibc nothing here has an effect.
"""

import ctypes
import os

# From malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 1 << 25  # The largest value that every glibc accepts.
_KEPT = 1 << 28
_CORES_OF_AN_ARENA = 4


def environment() -> dict[str, str]:
  """Returns environment variables with which an executor keeps all memory: blocks of any size stay in the heap.

  There are few arenas, so that a client reuses the memory of the client before it while it is still in the cache. On
  machines with many cores there are several arenas, because clients would wait for each other otherwise.
  """
  return {
      'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
      'MALLOC_TRIM_THRESHOLD_': str(1 << 31),
      'MALLOC_TOP_PAD_': str(1 << 26),
      'MALLOC_ARENA_MAX': str(_arenas()),
  }


def keep_freed_memory() -> None:
  """Makes this process keep freed blocks of up to 32 MB, and 256 MB in total, for the next round."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, _KEPT)


def share_freed_memory() -> None:
  """Makes the threads of this process allocate from a few arenas, as those of an executor do; for clients trained here.

  Arenas that exist already stay.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    mallopt(_ARENA_MAX, _arenas())


def _arenas():
  return max(1, (os.cpu_count() or 1) // _CORES_OF_AN_ARENA)
