"""Run by `test_logical`: rounds on three logical processors, and where each operation of them ran. Prints JSON.

Devices can be made only before TensorFlow begins, so this is a program of its own. Before the second round the device
CPU:2 runs out of memory.
"""

import json
import sys
import threading

import tensorflow as tf
from tensorflow.python.eager import context  # Not public API: says where each operation ran.

from tests import tiny
from tests.learning import tiny_experiments
from tff_vision.configs import runtime_config
from tff_vision.runtime.device import leaf
from tff_vision.runtime.driver import device

SMALL = 'CPU:2'


def operations(copies):
  """Returns where TensorFlow placed each operation that is in a graph with variables and in no other graph."""
  names = {stateful: {operation.name for copy in copies if bool(copy._program.variables) == stateful
                      for function in copy.functions for operation in function.graph.get_operations()}
           for stateful in (True, False)}
  found = {}
  for graph in context.export_run_metadata().partition_graphs:  # A function is placed when it is first called.
    for node in graph.node:
      if node.name in names[True] - names[False]:
        found.setdefault(node.name, set()).add(node.device)
  context.disable_run_metadata()
  return {name: sorted(devices) for name, devices in found.items()}


def main() -> None:
  tf.config.set_logical_device_configuration(
      tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 3)
  calls, lock, call, small = [], threading.Lock(), leaf.Leaf.__call__, set()

  def noted(self, arguments):
    if self._device in small and self._program.variables:
      raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor')
    found = call(self, arguments)
    with lock:
      calls.append((self, [tensor.device for tensor in found]))
    return found

  leaf.Leaf.__call__ = noted
  config = runtime_config.RuntimeConfig(runtime='device', devices=('CPU:1', SMALL), clients_per_device=1)
  rounds = []
  with device.device_place(config) as place:
    trainer = tiny_experiments.experiment('fedavg', builder=tiny.two_layers, sizes=(7, 12, 3, 9, 8, 8)).prepare()
    state = trainer.begin()
    for round_num in (1, 2):
      del calls[:]
      context.enable_run_metadata()
      state = trainer.next(state, round_num, range(6)).state
      rounds.append({
          'model': [float(one) for one in tiny_experiments.flat(trainer.weights(state).trainable)],
          'faults': [(fault.worker, fault.reason) for fault in place.take_faults()],
          'clients': [{'device': copy._device, 'results': devices} for copy, devices in calls
                      if copy._program.variables],
          'operations': operations([copy for copy, _ in calls])})
      small.add(SMALL)
  json.dump(rounds, sys.stdout)


if __name__ == '__main__':
  main()
