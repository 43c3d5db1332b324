"""Targets made of targets: one file each."""

from jensen.targets.wrappers.conditioned import Conditioned
from jensen.targets.wrappers.enumerated import Enumerated
from jensen.targets.wrappers.joint_rows import JointRows
from jensen.targets.wrappers.minibatched import Minibatched
from jensen.targets.wrappers.relaxed import Relaxed
from jensen.targets.wrappers.shuffled import Shuffled
from jensen.targets.wrappers.tempered import Tempered
from jensen.targets.wrappers.transformed import Transformed

__all__ = ["Conditioned", "Enumerated", "JointRows", "Minibatched", "Relaxed", "Shuffled", "Tempered", "Transformed"]
