"""Hessian products from one evaluation of the loss, recorded as operations of which each knows its derivatives."""

from .operator import Recorded
from .tape import Unrecorded

__all__ = ["Recorded", "Unrecorded"]
