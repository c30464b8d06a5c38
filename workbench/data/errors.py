"""The only two exceptions that reading data raises."""


class DataError(ValueError):
    """A file is damaged, has the wrong format or reaches outside its folder; the message names the file."""


class DataNotFoundError(FileNotFoundError):
    """A data set is not on this machine; the message says where it was sought and how to get it."""
