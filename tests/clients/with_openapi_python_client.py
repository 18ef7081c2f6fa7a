"""The scenario, with the client that openapi-python-client generates.

A program of its own: mypy checks it strictly, together with the generated package.
"""

from http import HTTPStatus
from os import environ
from time import sleep
from typing import TypeVar

from rivergen_client import AuthenticatedClient, Client
from rivergen_client.api.connection_tests import test_data_source
from rivergen_client.api.credentials import get_credentials, replace_credentials
from rivergen_client.api.data_sources import (
    create_data_source,
    delete_data_source,
    get_data_source,
    list_data_sources,
    update_data_source,
    update_data_sources,
)
from rivergen_client.api.history import list_history, restore_data_source
from rivergen_client.api.schemas import get_schema, get_schema_refresh, refresh_schema
from rivergen_client.api.sign_in import create_token
from rivergen_client.models import (
    Changes,
    ConnectionTestResponse,
    CredentialsChangeResponse,
    CredentialsResponse,
    CredentialsUpdate,
    DataSource,
    DataSourceChangeResponse,
    DataSourceCreate,
    DataSourceCreateMetadata,
    DataSourceListResponse,
    DataSourceMergePatch,
    DataSourceMergePatchMetadata,
    DataSourceResponse,
    DataSourceRevisionListResponse,
    DataSourcesUpdate,
    DataSourceType,
    DataSourceUpdate,
    DataSourceUpdateMetadata,
    ErrorResponse,
    ListDataSourcesOrdering,
    OneDataSourceUpdate,
    PreconditionFailedResponse,
    SchemaRefreshResponse,
    SnapshotContentResponse,
    TokenRequest,
    TokenResponse,
    UpdateError,
    UpdateResultListResponse,
    UpdatesFailedResponse,
    VersionConflict,
)
from rivergen_client.types import UNSET, Unset

T = TypeVar("T")
METADATA = {"a": 1, "keep": {"nested": [1, None]}}
STALE = '"999"'
POLL_SECONDS = 0.2


def expect(kind: type[T], parsed: object) -> T:
    """Return a parsed response; raise AssertionError if it is of another kind."""
    assert isinstance(parsed, kind), parsed
    return parsed


def equal(found: object, expected: object) -> None:
    """Raise AssertionError if two values differ."""
    assert found == expected, f"{found!r} instead of {expected!r}"


def sign_in(url: str, username: str, password: str) -> AuthenticatedClient:
    """Sign in, first with a wrong password."""
    client = Client(base_url=url)
    wrong = TokenRequest(username=username, password="wrong")
    refused = create_token.sync_detailed(client=client, body=wrong)
    equal(refused.status_code, HTTPStatus.UNAUTHORIZED)
    equal(expect(ErrorResponse, refused.parsed).error.code, "UNAUTHORIZED")
    right = TokenRequest(username=username, password=password)
    token = expect(TokenResponse, create_token.sync(client=client, body=right))
    return AuthenticatedClient(base_url=url, token=token.data.access_token)


class Scenario:
    """The steps, in order, and what they hand on: the client, and a data source as last read."""

    def __init__(self) -> None:
        self.url = environ["RIVERGEN_URL"]
        self.port = int(environ["SOURCE_PORT"])
        self.names = ["first", "second", "third"]
        self.ids: list[int] = []
        self.credentials = CredentialsUpdate(
            username=environ["SOURCE_USERNAME"], password=environ["SOURCE_PASSWORD"]
        )

    def sign_in(self) -> None:
        username, password = environ["RIVERGEN_USERNAME"], environ["RIVERGEN_PASSWORD"]
        self.client = sign_in(self.url, username, password)

    def create(self) -> None:
        for name in self.names:
            body = DataSourceCreate(
                name=name,
                type_=DataSourceType.POSTGRESQL,
                host="127.0.0.1",
                port=self.port,
                database_name=environ["SOURCE_DATABASE"],
                metadata=DataSourceCreateMetadata.from_dict(METADATA),
                tags=["généré", "b"],
                credentials=self.credentials,
            )
            response = create_data_source.sync_detailed(client=self.client, body=body)
            equal(response.status_code, HTTPStatus.CREATED)
            data_source = expect(DataSourceResponse, response.parsed).data
            equal(response.headers["Location"], f"/api/v1/data-sources/{data_source.id}")
            equal(data_source.name, name)
            equal(data_source.metadata.to_dict(), METADATA)
            equal(data_source.tags, ["généré", "b"])
            equal(data_source.ssh_host, None)
            equal((data_source.credentials_status, data_source.missing_fields), ("set", []))
            self.ids.append(data_source.id)
        assert min(self.ids) >= 3_000_000_000, self.ids
        self.id = self.ids[0]

    def list_by_pages(self) -> None:
        names: list[str] = []
        cursor: str | Unset | None = UNSET
        while cursor is not None:
            page = list_data_sources.sync(
                client=self.client,
                page_size=1,
                ordering=ListDataSourcesOrdering.NAME,
                cursor=cursor,
            )
            found = expect(DataSourceListResponse, page)
            names += [data_source.name for data_source in found.data]
            cursor = found.pagination.next_cursor
        equal(names, self.names)

    def get_conditionally(self) -> None:
        first = get_data_source.sync_detailed(self.id, client=self.client)
        self.etag = first.headers["ETag"]
        self.read = expect(DataSourceResponse, first.parsed).data
        again = get_data_source.sync_detailed(self.id, client=self.client, if_none_match=self.etag)
        equal(again.status_code, HTTPStatus.NOT_MODIFIED)
        equal(again.content, b"")

    def update(self, body: DataSourceUpdate | DataSourceMergePatch) -> DataSourceChangeResponse:
        """Update the data source at the version last read, and return the response."""
        response = update_data_source.sync_detailed(
            self.id, client=self.client, body=body, if_match=self.etag
        )
        changed = expect(DataSourceChangeResponse, response.parsed)
        self.etag = response.headers["ETag"]
        equal(self.etag, f'"{changed.data.version}"')
        return changed

    def patch_with_if_match(self) -> None:
        changed = self.update(DataSourceUpdate(description="first", schema_name=None))
        equal(changed.data.description, "first")
        equal(changed.data.version, self.read.version + 1)
        equal(changed.data.tags, self.read.tags)
        equal(changed.changes.additional_keys, ["description"])
        equal(changed.changes["description"].to_dict(), {"from": "", "to": "first"})

    def patch_a_stale_version(self) -> None:
        body = DataSourceUpdate(description="stale")
        response = update_data_source.sync_detailed(
            self.id, client=self.client, body=body, if_match='"1"'
        )
        equal(response.status_code, HTTPStatus.PRECONDITION_FAILED)
        equal(response.headers["ETag"], self.etag)
        error = expect(PreconditionFailedResponse, response.parsed).error
        equal(error.code, "PRECONDITION_FAILED")
        equal(error.conflict.overlapping, ["description"])
        [change] = error.conflict.changed_since
        equal((change.version, change.fields), (2, ["description"]))
        # Nobody has changed what this update names.
        response = update_data_source.sync_detailed(
            self.id,
            client=self.client,
            body=DataSourceUpdate(max_retries=4),
            if_match='"1"',
            allow_disjoint=True,
        )
        equal(expect(DataSourceChangeResponse, response.parsed).data.description, "first")
        self.etag = response.headers["ETag"]

    def send_back_what_was_read(self) -> None:
        found = get_data_source.sync(self.id, client=self.client)
        body = DataSourceUpdate.from_dict(expect(DataSourceResponse, found).data.to_dict())
        body.description = "edited"
        equal(self.update(body).changes.additional_keys, ["description"])

    def patch_with_invalid_fields(self) -> None:
        body = DataSourceUpdate(name="", connection_timeout=0)
        response = update_data_source.sync_detailed(self.id, client=self.client, body=body)
        equal(response.status_code, HTTPStatus.BAD_REQUEST)
        error = expect(ErrorResponse, response.parsed).error
        equal(error.code, "BAD_REQUEST")
        equal({*error.details.additional_keys}, {"name", "connection_timeout"})
        equal(error.request_id, response.headers["X-Request-ID"])

    def merge_and_replace_metadata(self) -> None:
        merged = DataSourceMergePatchMetadata.from_dict({"z": 1, "a": None})
        data_source = self.update(DataSourceMergePatch(metadata=merged)).data
        equal(data_source.metadata.to_dict(), {"keep": METADATA["keep"], "z": 1})
        replaced = DataSourceUpdateMetadata.from_dict({"z": 1})
        data_source = self.update(DataSourceUpdate(metadata=replaced)).data
        equal(data_source.metadata.to_dict(), {"z": 1})

    def set_credentials(self) -> None:
        changed = replace_credentials.sync(self.id, client=self.client, body=self.credentials)
        credentials = expect(CredentialsChangeResponse, changed).data
        equal(credentials.username, environ["SOURCE_USERNAME"])
        equal(credentials.password.is_set, True)
        read = get_credentials.sync(self.id, client=self.client)
        credentials = expect(CredentialsResponse, read).data
        equal(credentials.password.confirmed, True)
        equal(credentials.token.is_set, False)
        stale = replace_credentials.sync(
            self.id, client=self.client, body=self.credentials, if_match='"1"'
        )
        assert expect(PreconditionFailedResponse, stale).error.conflict.changed_since

    def test_and_wait(self) -> None:
        response = test_data_source.sync_detailed(self.id, client=self.client, wait=25)
        equal(response.status_code, HTTPStatus.OK)
        result = expect(ConnectionTestResponse, response.parsed).data
        equal((result.code, result.ok), ("OK", True))
        equal(result.code, "OK")
        equal({stage.ok for stage in result.stages}, {True})

    def read_the_schema(self) -> None:
        started = refresh_schema.sync(self.id, client=self.client)
        refresh = expect(SchemaRefreshResponse, started).data
        while refresh.finished_at is None:
            sleep(POLL_SECONDS)
            polled = get_schema_refresh.sync(self.id, client=self.client)
            refresh = expect(SchemaRefreshResponse, polled).data
        equal(refresh.ok, True)
        found = get_schema.sync(self.id, client=self.client, search="order")
        snapshot = expect(SnapshotContentResponse, found).data
        [table] = snapshot.tables
        equal([column.name for column in table.columns], ["id", "total"])

    def restore_from_history(self) -> None:
        found = list_history.sync(self.id, client=self.client)
        history = expect(DataSourceRevisionListResponse, found).data
        equal(history[-1].version, 1)
        restored = restore_data_source.sync(self.id, 1, client=self.client)
        data_source = expect(DataSourceChangeResponse, restored).data
        equal(data_source.metadata.to_dict(), METADATA)
        equal(data_source.description, "")
        equal(data_source.version, history[0].version + 1)

    def update_many(self) -> None:
        _, second, third = self.ids
        body = DataSourcesUpdate(
            updates=[
                OneDataSourceUpdate(id=second, description="second"),
                OneDataSourceUpdate(id=third, description="third", if_match='"7"'),
            ]
        )
        refused = update_data_sources.sync_detailed(client=self.client, body=body)
        equal(refused.status_code, HTTPStatus.CONFLICT)
        results = expect(UpdatesFailedResponse, refused.parsed).error.results
        assert not isinstance(results, Unset)
        good, bad = [expect(UpdateError, result.error) for result in results]
        equal((good.code, bad.code), ("NOT_APPLIED", "PRECONDITION_FAILED"))
        equal(expect(VersionConflict, bad.conflict).version, 1)
        done = update_data_sources.sync(client=self.client, body=body, atomic=False)
        first, other = expect(UpdateResultListResponse, done).data
        equal([first.status, other.status], [HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED])
        equal(expect(DataSource, first.data).description, "second")
        equal(expect(Changes, first.changes).additional_keys, ["description"])

    def bear_a_newer_version(self) -> None:
        newer = AuthenticatedClient(base_url=environ["RIVERGEN_NEWER_URL"], token=self.client.token)
        found = expect(DataSourceListResponse, list_data_sources.sync(client=newer)).data
        equal([one.name for one in found], self.names)
        equal({one.type_ for one in found}, {"added_later"})
        revisions = list_history.sync(self.id, client=newer)
        [*_, first] = expect(DataSourceRevisionListResponse, revisions).data
        equal((first.version, first.origin), (1, "added_later"))
        snapshot = expect(SnapshotContentResponse, get_schema.sync(self.id, client=newer)).data
        equal({table.kind for table in snapshot.tables}, {"added_later"})
        response = get_data_source.sync_detailed(1, client=newer)
        equal(response.status_code, HTTPStatus.NOT_FOUND)
        equal(expect(ErrorResponse, response.parsed).error.code, "ADDED_LATER")

    def delete(self) -> None:
        for pk in self.ids:
            response = delete_data_source.sync_detailed(pk, client=self.client)
            equal(response.status_code, HTTPStatus.NO_CONTENT)
        gone = get_data_source.sync_detailed(self.id, client=self.client)
        equal(gone.status_code, HTTPStatus.NOT_FOUND)
        equal(expect(ErrorResponse, gone.parsed).error.code, "NOT_FOUND")


def main() -> None:
    """Run the steps, and print the name of each before it begins."""
    scenario = Scenario()
    for step in (
        scenario.sign_in,
        scenario.create,
        scenario.list_by_pages,
        scenario.get_conditionally,
        scenario.patch_with_if_match,
        scenario.patch_a_stale_version,
        scenario.send_back_what_was_read,
        scenario.patch_with_invalid_fields,
        scenario.merge_and_replace_metadata,
        scenario.set_credentials,
        scenario.test_and_wait,
        scenario.read_the_schema,
        scenario.restore_from_history,
        scenario.update_many,
        scenario.bear_a_newer_version,
        scenario.delete,
    ):
        print(step.__name__.replace("_", " "), flush=True)
        step()


if __name__ == "__main__":
    main()
