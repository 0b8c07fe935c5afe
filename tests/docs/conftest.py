import pytest

from tests.docs.built_site import builder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    builder().build(folder / "work", folder / "site")
    return folder / "site"
