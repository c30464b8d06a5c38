"""Real data sets as tensors: embedded ones, local folders and verified downloads."""

from workbench.data.augmentation import pad_crop_flip
from workbench.data.domains import LeftOut, domain_members, leave_one_domain_out, rotate, rotated_digits
from workbench.data.download import fetch
from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.incremental import Sessions, sessions
from workbench.data.labels import label_noise
from workbench.data.loading import load, load_corrupted
from workbench.data.pairs import read_pairs
from workbench.data.photographs import augment_photographs
from workbench.data.record import Data
from workbench.data.splitting import split, subset
from workbench.data.trees import Tree, class_tree, domain_tree, read_images

__all__ = [
    "Data",
    "DataError",
    "DataNotFoundError",
    "LeftOut",
    "Sessions",
    "Tree",
    "augment_photographs",
    "class_tree",
    "domain_members",
    "domain_tree",
    "fetch",
    "label_noise",
    "leave_one_domain_out",
    "load",
    "load_corrupted",
    "pad_crop_flip",
    "read_images",
    "read_pairs",
    "rotate",
    "rotated_digits",
    "sessions",
    "split",
    "subset",
]
