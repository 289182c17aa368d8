"""The files of the photographs that a record set was made of."""

from drsearch.data.records import EyeEntry, RecordSet, file_sha256
from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Dataset, Photograph
from drsearch.errors import DataError


class PhotographFiles:
    """The files of the photographs of a data set, found by name and checked by content.

    Args:
        dataset: The photographs of some records.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._place = dataset.place
        self._photographs: dict[tuple[str, str], list[Photograph]] = {}
        for photograph in dataset.photographs:
            self._photographs.setdefault((photograph.source, photograph.name), []).append(photograph)

    def of(self, eye: EyeEntry) -> Photograph:
        """The photograph of an eye.

        Args:
            eye: Of the records.

        Raises:
            DataError: If none of its name has its checksum any more.
        """
        if (photograph := self.find(eye)) is None:
            raise DataError(f"{self._place}: the photograph {eye.name} was changed or removed meanwhile; start again.")
        return photograph

    def find(self, eye: EyeEntry) -> Photograph | None:
        """The photograph of an eye; None if none of its name has its checksum any more."""
        for photograph in self._photographs.get((eye.source, eye.name), ()):
            if photograph.path.is_file() and file_sha256(photograph.path) == eye.sha256:
                return photograph
        return None


def photographs_of(records: RecordSet) -> PhotographFiles | None:
    """The photographs of a record set; None where their folder is not on this machine."""
    try:
        return PhotographFiles(open_dataset([records.description_path]))
    except DataError:
        return None
