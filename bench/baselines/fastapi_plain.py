"""FastAPI as in its tutorial: SQLAlchemy's ORM, Pydantic models, sync endpoints.

Served as `bench.baselines.fastapi_plain:application`.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ARRAY, JSON, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"), pool_size=40
)
make_session = sessionmaker(engine)
application = FastAPI()


class Base(DeclarativeBase):
    """The declarative base of the tables."""


class User(Base):
    """A user."""

    __tablename__ = "organizations_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    is_active: Mapped[bool]


class Membership(Base):
    """A user's membership in an organization."""

    __tablename__ = "organizations_membership"
    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int]
    user_id: Mapped[int]
    role: Mapped[str]


class DataSource(Base):
    """A data source."""

    __tablename__ = "datasources_datasource"
    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int]
    workspace_id: Mapped[int]
    name: Mapped[str]
    type: Mapped[str]
    description: Mapped[str]
    host: Mapped[str | None]
    port: Mapped[int | None]
    database_name: Mapped[str | None]
    schema_name: Mapped[str | None]
    connection_string: Mapped[str | None]
    file_path: Mapped[str | None]
    use_ssh_tunnel: Mapped[bool]
    ssh_host: Mapped[str | None]
    ssh_port: Mapped[int | None]
    ssh_username: Mapped[str | None]
    ssh_local_port: Mapped[int | None]
    connection_pool_size: Mapped[int]
    connection_timeout: Mapped[int]
    query_timeout: Mapped[int]
    max_retries: Mapped[int]
    schema_auto_refresh: Mapped[bool]
    schema_refresh_interval: Mapped[int]
    # SQLAlchemy reserves the name `metadata`.
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    tags: Mapped[list[str]] = mapped_column(ARRAY(String))
    status: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by_id: Mapped[int | None]
    updated_by_id: Mapped[int | None]


class Revision(Base):
    """A revision of a data source."""

    __tablename__ = "datasources_datasourcerevision"
    id: Mapped[int] = mapped_column(primary_key=True)
    data_source_id: Mapped[int]
    version: Mapped[int]
    changed_at: Mapped[datetime]
    changed_by_id: Mapped[int | None]
    origin: Mapped[str]
    request_id: Mapped[str]
    changes: Mapped[dict[str, Any]] = mapped_column(JSON)


class DataSourceUpdate(BaseModel):
    """The body of an update."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=255)
    description: str = Field(max_length=10_000)
    host: str | None = Field(max_length=253)
    port: int | None = Field(ge=1, le=65_535)
    database_name: str | None = Field(max_length=255)
    schema_name: str | None = Field(max_length=255)
    connection_string: str | None = Field(max_length=4_096)
    file_path: str | None = Field(max_length=1_000)
    use_ssh_tunnel: bool
    ssh_host: str | None = Field(max_length=253)
    ssh_port: int | None = Field(ge=1, le=65_535)
    ssh_username: str | None = Field(max_length=255)
    ssh_local_port: int | None = Field(ge=1, le=65_535)
    connection_pool_size: int = Field(ge=1, le=100)
    connection_timeout: int = Field(ge=1, le=300)
    query_timeout: int = Field(ge=1, le=86_400)
    max_retries: int = Field(ge=0, le=10)
    schema_auto_refresh: bool
    schema_refresh_interval: int = Field(ge=60, le=2_592_000)
    tags: list[str]


class DataSourceOut(DataSourceUpdate):
    """A data source in a response."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")

    id: int
    organization_id: int
    workspace_id: int
    type: str
    meta: dict[str, Any] = Field(serialization_alias="metadata")
    status: str
    version: int
    created_at: datetime
    updated_at: datetime
    created_by_id: int | None
    updated_by_id: int | None


for field in DataSourceUpdate.model_fields.values():
    field.default = None  # every field is optional
DataSourceUpdate.model_rebuild(force=True)


def session() -> Iterator[Session]:
    """Yield a session, and commit at the end."""
    with make_session.begin() as current:
        yield current


CurrentSession = Annotated[Session, Depends(session)]


def user(current: CurrentSession, authorization: Annotated[str, Header()]) -> User:
    """Return the user of the access token. Raises HTTPException (401)."""
    token = authorization.removeprefix("Bearer ")
    claims = jwt.decode(token, os.environ["TOKEN_KEY"], ["HS256"], audience="rivergen")
    found = current.get(User, int(claims["user_id"]))
    if found is None or not found.is_active:
        raise HTTPException(401)
    return found


Caller = Annotated[User, Depends(user)]


def visible_to(caller: User) -> Any:
    """Select the data sources of the caller's organizations."""
    return (
        select(DataSource)
        .join(Membership, Membership.organization_id == DataSource.organization_id)
        .where(Membership.user_id == caller.id)
    )


@application.get("/api/v1/data-sources")
def list_data_sources(current: CurrentSession, caller: Caller) -> list[DataSourceOut]:
    """List the first 50 data sources."""
    rows = current.scalars(visible_to(caller).order_by(DataSource.name, DataSource.id).limit(50))
    return [DataSourceOut.model_validate(row) for row in rows]


@application.get("/api/v1/data-sources/{pk}")
def retrieve(pk: int, current: CurrentSession, caller: Caller) -> DataSourceOut:
    """Return one data source."""
    row = current.scalars(visible_to(caller).where(DataSource.id == pk)).first()
    if row is None:
        raise HTTPException(404)
    return DataSourceOut.model_validate(row)


@application.patch("/api/v1/data-sources/{pk}")
def update(
    pk: int, body: DataSourceUpdate, current: CurrentSession, caller: Caller
) -> DataSourceOut:
    """Change the given fields."""
    locked = (
        visible_to(caller).where(DataSource.id == pk).with_for_update(of=DataSource, key_share=True)
    )
    row = current.scalars(locked).first()
    if row is None:
        raise HTTPException(404)
    changes = {}
    for name, value in body.model_dump(exclude_unset=True).items():
        changes[name] = {"from": getattr(row, name), "to": value}
        setattr(row, name, value)
    row.version += 1
    row.updated_at = datetime.now(UTC)
    row.updated_by_id = caller.id
    current.add(
        Revision(
            data_source_id=row.id,
            version=row.version,
            changed_at=row.updated_at,
            changed_by_id=caller.id,
            origin="api",
            request_id="",
            changes=changes,
        )
    )
    current.flush()
    return DataSourceOut.model_validate(row)
