"""What all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from whitenoise.middleware import WhiteNoiseMiddleware

# More examples than a run before each commit has time for: pytest --hypothesis-profile=deep
settings.register_profile("deep", max_examples=2_000)


@pytest.fixture(scope="session", autouse=True)
def static_files_listed_once() -> Iterator[None]:
    """Find the static files once; each test client would do so again, for longer than a request."""
    find = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, object] = {}

    def find_once(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            find(middleware)
            found.update(middleware.files)
        middleware.files = found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", find_once)
        yield
