"""Decoded images in files that all processes of a machine map: they share the pages that the system keeps of them."""

import contextlib
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from absl import logging
from numpy.typing import NDArray

from drsearch.files import lock, open_whole

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "9p"}
"""Kinds of file systems on which a mapped page may come over the network, or never; `fuse.*` counts as one."""


class Images(Protocol):
    """RGB images, uint8, shape `(n, h, w, 3)`: an array, or `MappedImages`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, `(n, h, w, 3)`."""

    def __len__(self) -> int:
        """The number of images."""

    def __iter__(self) -> Iterator[Any]:
        """The images, one after another."""

    def __getitem__(self, which: Any, /) -> Any:
        """The image at an index, or an array of the images that an index array, a mask or a slice names."""


class MappedImages:
    """Rows of arrays that lie in files: an image is read where it is used, and none is held.

    Args:
        parts: Arrays of images of one shape, one after another; as `map_images` returns them.
        rows: Which of their images, in this order, shape `(n,)`; None: all.
    """

    def __init__(self, parts: Sequence[NDArray[np.uint8]], rows: NDArray[np.int64] | None = None) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        self._rows = np.arange(self._starts[-1]) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, `(n, h, w, 3)`."""
        return len(self._rows), *self._parts[0].shape[1:]

    def __len__(self) -> int:
        """The number of images."""
        return len(self._rows)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The images, one after another."""
        return map(self._row, self._rows.tolist())

    def __getitem__(self, which: Any, /) -> NDArray[np.uint8]:
        """The image at an index, or a copy of the images that an index array, a mask or a slice names."""
        rows = self._rows[which]
        if np.ndim(rows) == 0:
            return self._row(int(rows))
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for into, row in zip(images, rows.tolist(), strict=True):
            into[...] = self._row(row)
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """A copy of all images, for NumPy."""
        return self[:]

    def some(self, which: NDArray[Any]) -> "MappedImages":
        """The images at some indices, or where a mask is true; nothing is copied."""
        return MappedImages(self._parts, self._rows[which])

    def _row(self, row: int) -> NDArray[np.uint8]:
        part = bisect_right(self._starts, row) - 1
        image: NDArray[np.uint8] = self._parts[part][row - self._starts[part]]
        return image

    @classmethod
    def joined(cls, several: Sequence[Images]) -> "MappedImages":
        """The images of several as one, in their order; nothing is copied."""
        each = [one if isinstance(one, cls) else cls([np.asarray(one)]) for one in several]
        starts = np.cumsum([0, *(one._starts[-1] for one in each)])
        rows = [one._rows + start for one, start in zip(each, starts, strict=False)]
        return cls([part for one in each for part in one._parts], np.concatenate(rows))


def map_images(
    path: Path, shape: tuple[int, ...], images: Callable[[], Iterable[NDArray[np.uint8]]]
) -> NDArray[np.uint8]:
    """Images in a file, read-only; the first process that asks for them writes it, and the others wait.

    Args:
        path: A `.npy` file, named for what it holds: a file of that name and shape is taken as it is.
        shape: `(n, h, w, 3)`, n at least 1.
        images: Yields the n images, uint8, shape `(h, w, 3)`; called if the file has to be written.

    Returns:
        Shape `(n, h, w, 3)`. Its pages are the file's, which the system drops where memory is wanted.

    Raises:
        OSError: If the file can neither be read nor written; nothing is left behind.
    """
    if (mapped := _mapped(path, shape)) is not None:
        return mapped
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as waiting:
        lock(waiting)
        if (mapped := _mapped(path, shape)) is not None:
            return mapped
        logging.info("decoding %d eyes into %s, once for all workers of this machine", shape[0], path)
        with open_whole(path, replace=True) as file:  # not through a map: a full disk would kill the process
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for image in images():
                file.write(np.ascontiguousarray(image).data)
        mapped = _mapped(path, shape)
        assert mapped is not None, "written under the lock"
        return mapped


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The images of a whole file; None where there is none."""
    try:
        mapped = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):  # missing, torn or altered
        return None
    whole = mapped.dtype == np.uint8 and mapped.shape == shape
    return np.asarray(mapped) if whole else None  # a plain array: `memmap` makes every index slower


def remove_mapped(folder: Path) -> bool:
    """Delete a folder of files of `map_images`, unless a process is about to write one; whether it is gone.

    Processes that have a file mapped keep what they see.
    """
    with contextlib.ExitStack() as locks:
        try:
            for path in folder.glob("*.lock"):
                lock(locks.enter_context(path.open("a")), give_up=lambda: True)
        except TimeoutError:
            return False
        shutil.rmtree(folder)
        return True


def on_this_machine(folder: Path) -> Path:
    """A folder, or one for temporary files where the folder is known to lie on a network disk.

    Raises:
        PermissionError: If the folder for temporary files belongs to another user, or others may write into it.
    """
    if not _is_network(folder):
        return folder
    temporary = temporary_folder()
    temporary.mkdir(mode=0o700, exist_ok=True)
    status = temporary.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or temporary.is_symlink():
        raise PermissionError(f"{temporary} belongs to another user, or is open to others; remove it or set TMPDIR")
    return temporary


def temporary_folder() -> Path:
    """Where decoded images lie that would otherwise be on a network disk."""
    return Path(tempfile.gettempdir()) / f"drsearch-decoded-{os.getuid()}"


def _is_network(folder: Path) -> bool:
    place = folder.absolute()
    mounts = [disk for disk in psutil.disk_partitions(all=True) if place.is_relative_to(disk.mountpoint)]
    kind = max(mounts, key=lambda disk: len(disk.mountpoint)).fstype if mounts else ""
    return kind in _NETWORK or kind.startswith("fuse.")
