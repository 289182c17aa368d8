"""What lies in a data set's folder and is not used, in a few words: never passed over in silence."""

from collections.abc import Collection, Sequence

from drsearch.datasets.listing import PICTURES, Listing, is_table, readable

_NAMED = 4  # files of one folder that are named each; more are counted


def unused(listing: Listing, used: Collection[str], image_folders: Collection[str]) -> list[str]:
    """The photographs and tables that are not used, and other files that lie among photographs.

    A folder of which nothing is used is named once, with the number of its files.

    Args:
        listing: The folder.
        used: The files that are used.
        image_folders: Folders whose photographs are used.
    """
    in_use = {"."}
    for file in (*used, *(f"{folder}/x" for folder in image_folders)):
        parts = file.split("/")[:-1]
        in_use |= {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
    groups: dict[str, list[str]] = {}
    for file in sorted(set(listing.files) - set(used)):
        folder = _folder(file)
        among_photographs = folder != "." and folder in image_folders
        if not (file.lower().endswith(PICTURES) or is_table(file) or among_photographs):
            continue
        groups.setdefault(_topmost_unused(folder, in_use), []).append(file)
    return [*listing.problems, *(line for folder, files in groups.items() for line in _words(folder, files))]


def _folder(file: str) -> str:
    return file.rpartition("/")[0] or "."


def _topmost_unused(folder: str, in_use: Collection[str]) -> str:
    """The highest folder above a file in which nothing is used; its own where something is."""
    while folder not in in_use and _folder(folder) not in in_use:
        folder = _folder(folder)
    return folder


def _words(folder: str, files: Sequence[str]) -> list[str]:
    """The files by name where they are few and lie in the folder itself, else the folder with their number."""
    if len(files) <= _NAMED and all(_folder(file) == folder for file in files):
        return [readable(file) for file in files]
    n_pictures, n_tables = sum(file.lower().endswith(PICTURES) for file in files), sum(map(is_table, files))
    counts = [(n_pictures, "picture"), (n_tables, "table"), (len(files) - n_pictures - n_tables, "other file")]
    numbers = " and ".join(f"{n} {what}{'s' if n != 1 else ''}" for n, what in counts if n)
    return [f"{readable(folder)} ({numbers}, e.g. {readable(files[0].rpartition('/')[2])})"]
