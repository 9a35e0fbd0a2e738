import pytest


@pytest.fixture(autouse=True, scope="session")
def own_place_for_journals(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PFTLAB_GRADING", str(tmp_path_factory.mktemp("journals")))
        yield
