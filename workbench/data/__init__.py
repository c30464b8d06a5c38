"""Real data sets as tensors: embedded ones, local folders and verified downloads."""

from workbench.data.domains import domain_members, leave_one_domain_out, rotate, rotated_digits
from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.labels import label_noise
from workbench.data.loading import load
from workbench.data.record import Data
from workbench.data.splitting import split, subset

__all__ = [
    "Data",
    "DataError",
    "DataNotFoundError",
    "domain_members",
    "label_noise",
    "leave_one_domain_out",
    "load",
    "rotate",
    "rotated_digits",
    "split",
    "subset",
]
