"""The marker `shared_data`: data sets that lie next to the checkout, not in the repository."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Skips tests marked `shared_data("folder", ...)` if a folder is missing, and says which."""
    for item in items:
        for marker in item.iter_markers("shared_data"):
            missing = [
                str(SHARED_DATA / name) for name in marker.args if not (SHARED_DATA / name).is_dir()
            ]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"no such folder: {', '.join(missing)}"))
