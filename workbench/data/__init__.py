"""Real data sets as tensors: embedded ones, local folders and verified downloads."""

from workbench.data.domains import domain_members, leave_one_domain_out, rotate, rotated_digits
from workbench.data.download import fetch
from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.labels import label_noise
from workbench.data.loading import load, load_corrupted
from workbench.data.record import Data
from workbench.data.splitting import split, subset
from workbench.data.trees import class_tree, domain_tree, read_images

__all__ = [
    "Data",
    "DataError",
    "DataNotFoundError",
    "class_tree",
    "domain_members",
    "domain_tree",
    "fetch",
    "label_noise",
    "leave_one_domain_out",
    "load",
    "load_corrupted",
    "read_images",
    "rotate",
    "rotated_digits",
    "split",
    "subset",
]
