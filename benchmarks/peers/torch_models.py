"""The models of the workloads in PyTorch, for the systems that are built on it."""

import functools

import torch

from benchmarks.peers import workload


def build(work: workload.Workload) -> torch.nn.Module:
  """Returns the workload's model; its input is [n, channels, height, width]."""
  if work.kind == 'cifar':
    return _resnet18(work.classes)
  return torch.nn.Sequential(
      torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
      torch.nn.Dropout(0.25), torch.nn.Flatten(), torch.nn.Linear(9216, 128), torch.nn.ReLU(), torch.nn.Dropout(0.5),
      torch.nn.Linear(128, work.classes))


@functools.cache
def tensors(work: workload.Workload) -> list[tuple[torch.Tensor, torch.Tensor]]:
  """Returns each client's (images [n, channels, height, width], labels int64)."""
  return [(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y).long())
          for x, y in work.clients_data()]


def _resnet18(classes):
  """Returns ResNet-18 for 32x32 (first convolution 3x3, no pooling), GroupNorm of 32 groups in place of BatchNorm."""
  layers = [torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.GroupNorm(32, 64), torch.nn.ReLU()]
  width = 64
  for channels in (64, 128, 256, 512):
    layers += [_Block(width, channels), _Block(channels, channels)]
    width = channels
  return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                             torch.nn.Linear(512, classes))


class _Block(torch.nn.Module):

  def __init__(self, width, channels):
    super().__init__()
    stride = 1 if width == channels else 2
    self.body = torch.nn.Sequential(
        torch.nn.Conv2d(width, channels, 3, stride, 1, bias=False), torch.nn.GroupNorm(32, channels), torch.nn.ReLU(),
        torch.nn.Conv2d(channels, channels, 3, 1, 1, bias=False), torch.nn.GroupNorm(32, channels))
    self.shortcut = torch.nn.Identity() if width == channels else torch.nn.Sequential(
        torch.nn.Conv2d(width, channels, 1, stride, bias=False), torch.nn.GroupNorm(32, channels))

  def forward(self, x):
    return torch.relu(self.body(x) + self.shortcut(x))
