import os
import signal
import subprocess
import sys

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.scratch_database import scratch_database


def test_it_leaves_nothing_behind_and_makes_no_folder(tmp_path):
    target = tmp_path / "run" / "classify"
    with scratch_database(target) as database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", ((b"x" * 1000,) for _ in range(20_000)))
        assert database.execute("SELECT count(*) FROM t WHERE x > 'a'").fetchone() == (20_000,)
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_nothing_behind(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from lorapar_cli.labelling.scratch_database import scratch_database\n"
        f"with scratch_database(Path({str(tmp_path / 'classify')!r})) as database:\n"
        "    database.execute('CREATE TABLE t (x)')\n"
        "    database.executemany('INSERT INTO t VALUES (?)', ((b'x' * 1000,) for _ in range(9999)))\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_small_however_large_it_grows(tmp_path):
    """Sorting and indexing 400,000 rows, some 60 MB on disk, moves the peak by a few MB."""
    program = (
        "import sys; from pathlib import Path\n"
        "from lorapar_cli.labelling.scratch_database import scratch_database\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        f"with scratch_database(Path({str(tmp_path / 'classify')!r})) as database:\n"
        "    database.execute('CREATE TABLE t (n INTEGER PRIMARY KEY, x)')\n"
        "    before = peak()\n"
        "    rows = ((n, hash((n, 1)).to_bytes(8, signed=True) * 8) for n in range(400_000))\n"
        "    database.executemany('INSERT INTO t VALUES (?, ?)', rows)\n"
        "    database.execute('CREATE INDEX i ON t (x)')\n"
        "    for _ in database.execute('SELECT n FROM t ORDER BY hex(x)'): pass\n"
        "    print((peak() - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) < 16, done.stderr


def test_a_disk_without_room_is_an_expected_error(tmp_path):
    full = pytest.raises(LoraparError, match="cannot write a temporary file")
    with full as error, scratch_database(tmp_path / "classify") as database:
        database.execute("PRAGMA max_page_count = 10")
        database.execute("CREATE TABLE t (x)")
        for _ in range(100):
            database.execute("INSERT INTO t VALUES (zeroblob(4000))")
    assert "full" in error.value.found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_expected_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(LoraparError, match="cannot write"), scratch_database(tmp_path / "x"):
        pass


def test_a_folder_whose_name_is_not_utf8_has_one_too(tmp_path):
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    with scratch_database(place / "classify") as database:
        database.execute("CREATE TABLE kept (a)")
        database.execute("INSERT INTO kept VALUES (7)")
        assert database.execute("SELECT a FROM kept").fetchone() == (7,)
    assert list(place.iterdir()) == []
