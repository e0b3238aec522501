"""Limits the memory that glibc keeps after it was freed, in executors and in this process.

Tensors and messages of a model's size are made anew for every client and every round. Handing each back to the kernel
costs page faults, worth 15-20 % of a round in executors and 10 ms of each round in the driver. Without glibc nothing
here has an effect.
"""

import ctypes
import os

# From malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 1 << 25  # The most that every glibc takes.
_KEPT = 1 << 28
_CORES_OF_AN_ARENA = 4


def environment() -> dict[str, str]:
  """Returns what lets an executor keep everything: blocks of any size stay in the heap.

  Few arenas, so that a client finds the memory of the one before it, still in the cache; several on machines of many
  cores, where clients would wait for each other.
  """
  return {
      'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
      'MALLOC_TRIM_THRESHOLD_': str(1 << 31),
      'MALLOC_TOP_PAD_': str(1 << 26),
      'MALLOC_ARENA_MAX': str(max(1, (os.cpu_count() or 1) // _CORES_OF_AN_ARENA)),
  }


def keep_freed_memory() -> None:
  """Lets this process keep blocks of up to 32 MB, and 256 MB in all, for the next round."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, _KEPT)
