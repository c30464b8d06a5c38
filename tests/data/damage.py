"""Ways to damage one file of a valid set: functions of its folder that return the damaged path."""

import gzip


def idx(name, change):
    def damage(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
        return path

    return damage


def gz(name, change):
    def damage(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(change(path.read_bytes()))
        return path

    return damage


def put(name, content):
    def damage(folder):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))
        return path

    return damage


def missing(name):
    def damage(folder):
        (folder / name).unlink()
        return folder / name

    return damage


def is_folder(name):
    def damage(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        return folder / name

    return damage


def link_out(name):
    """Moves a file or folder two levels up and leaves a symbolic link in its place."""

    def damage(folder):
        path = folder / name
        outside = folder.parents[1] / f"outside-{path.name}"
        if path.is_dir():
            path.rename(outside)
        else:
            outside.write_bytes(path.read_bytes())
            path.unlink()
        path.symlink_to(outside)
        return path

    return damage


def link_to_itself(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(name)
        return folder / name

    return damage
