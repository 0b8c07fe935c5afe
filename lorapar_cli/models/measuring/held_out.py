"""Records that `classify` held out: neither training nor any choice sees them."""

from dataclasses import dataclass

from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written


@dataclass(frozen=True)
class HeldOut:
    """Records that neither training nor any choice sees.

    Attributes:
        sha256: Of their file.
    """

    records: list[Record]
    sha256: str


def read_held_out(run_dir: RunDir) -> HeldOut | None:
    """Returns the records that `classify` held out, None where there are none.

    Raises:
        LoraparError: Their file is damaged, or `classify` wrote one that is gone.
    """
    path = run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT
    if not exists(path):
        check_written(path)
        return None
    digest = sha256_file(path)
    check_written(path, digest)
    records = read_records(path)
    return HeldOut(records, digest) if records else None
