"""What takes the place of a runtime before one is open, and after it."""

import atexit
import gc

import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.context_stack import context_base  # Not public API.


class _Closed(context_base.SyncContext):
  """Stands in for TFF's own local context, which would start an executor of its own that outlives this process."""

  def invoke(self, comp, arg):
    raise RuntimeError('No runtime is open: call this within `with tff_vision.open_runtime() as place:`, and give '
                       '`place` to prepare.')


def close() -> None:
  """Removes the runtime of this process and frees its values; does nothing where none is left."""
  if isinstance(tff.framework.get_context_stack().current, _Closed):
    return  # To look through all objects of TensorFlow's modules takes half a second.
  tff.framework.set_default_context(_Closed())
  gc.collect()


# A program may create an experiment and compute its cost without running it. Then the context that TFF installs on
# import would be collected during the interpreter's shutdown and print a traceback.
atexit.register(close)
