"""How many groups a group normalisation has (Wu and He, "Group Normalization", ECCV 2018)."""

_MOST_GROUPS = 32
_LEAST_CHANNELS = 8


def groups_of(channels: int) -> int:
  """Returns the largest divisor of `channels` up to 32 that gives groups of 8 channels or more, or 1.

  With groups of one channel, normalisation would remove all information from a feature map of one pixel, and the last
  maps of small images have one pixel.
  """
  return max((groups for groups in range(1, _MOST_GROUPS + 1)
              if channels % groups == 0 and channels >= groups * _LEAST_CHANNELS), default=1)
