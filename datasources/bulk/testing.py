"""Test cases with several data sources, and calls that update many of them."""

from typing import Any, ClassVar

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase, DataSourceTestMixin
from organizations.models import Role, User

PATH = "/data-sources"
MERGE_PATCH = "application/merge-patch+json"


class ManyTestMixin(DataSourceTestMixin):
    """Several data sources of Acme, and one of Globex, of which Edith is no member."""

    source_count: ClassVar[int] = 5
    source_values: ClassVar[dict[str, Any]] = {"type": "postgresql", "host": "db.example.com"}
    sources: ClassVar[list[DataSource]]
    foreign: ClassVar[DataSource]
    both: ClassVar[User]
    """An editor of Acme who is an editor of Globex as well."""

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        cls.sources = [
            DataSource.objects.create(
                workspace=cls.workspace, name=f"S{number}", **cls.source_values
            )
            for number in range(cls.source_count)
        ]
        cls.foreign = DataSource.objects.create(
            workspace=cls.globex.workspaces.get(), name="Theirs", **cls.source_values
        )
        cls.both = cls.make_user("bo", cls.acme, Role.EDITOR)
        cls.globex.add_member(cls.both, Role.EDITOR)

    def update_many(
        self, *updates: Any, query: str = "", user: User | None = None, **options: Any
    ) -> Any:
        """Send `PATCH /data-sources` with these updates."""
        body = {"updates": [*updates]}
        return self.call("patch", f"{PATH}{query}", body, user or self.editor, **options)

    def results(self, response: Any, status: int = 200) -> list[dict[str, Any]]:
        """Return the results of a response with this status, one for each update."""
        body = response.json()
        assert response.status_code == status, body
        results: list[dict[str, Any]] = body["data"] if status < 300 else body["error"]["results"]
        return results

    def statuses(self, response: Any, status: int = 200) -> list[int]:
        """Return the status of each update."""
        return [result["status"] for result in self.results(response, status)]

    def versions(self) -> list[int]:
        """Return the version of each of Acme's sources, in order."""
        versions = DataSource.objects.filter(pk__in=[source.pk for source in self.sources])
        return [*versions.order_by("pk").values_list("version", flat=True)]


class ManyTestCase(ManyTestMixin, DataSourceTestCase):
    """A test case with several data sources."""
