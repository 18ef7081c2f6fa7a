"""The storage of files: a local folder, or a bucket of an S3-compatible store.

Each organization has its own folder in the storage; `file_path` is relative to that folder.

A file is opened once, checked, and read by that descriptor, so that it does not matter if its name
leads to another file later.
"""

import os
import stat
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.conf import settings

from datasources.connections.failures import Code, ConnectionFailure

# The URL that DuckDB opens. Here, because readers need it in processes that load no fsspec.
PROTOCOL = "stored"
FILE_URL = f"{PROTOCOL}://file"
BOTO_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
# The variables whose files boto3 reads.
STORE_FILES = (
    *BOTO_FILES,
    "AWS_CA_BUNDLE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
# A store answers 403 for a missing object if the bucket may not be listed.
MISSING_STATUSES = (403, 404)


class StoredFile(Protocol):
    """A file opened for reading, which closes when the last reference to it is gone."""

    size: int
    modified_at: datetime

    def read_at(self, start: int, count: int) -> bytes:
        """Read `count` bytes from `start`, fewer at the end of the file. Thread-safe."""
        ...


class LocalFile:
    """A regular file in the folder of the storage."""

    def __init__(self, descriptor: int, path: str) -> None:
        status = os.fstat(descriptor)
        self.path = path
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def read_at(self, start: int, count: int) -> bytes:
        """Read by pread(2), which has no shared position."""
        return os.pread(self._descriptor, count, start)


class StoredObject:
    """An object of an S3-compatible store, read by ranges; fails once the object was replaced."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        head = client.head_object(Bucket=bucket, Key=key)
        self.size: int = head["ContentLength"]
        self.modified_at: datetime = head["LastModified"]
        self._client = client
        self._request = {"Bucket": bucket, "Key": key, "IfMatch": head["ETag"]}

    def read_at(self, start: int, count: int) -> bytes:
        """Request a range. Raises OSError if the store sends something else."""
        end = min(start + count, self.size)
        if start >= end:
            return b""
        answer = self._client.get_object(**self._request, Range=f"bytes={start}-{end - 1}")
        # A store without ranges would send the whole object.
        if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            raise OSError("The store does not support ranges.")
        data: bytes = answer["Body"].read()
        return data


def path_in_storage(organization_id: int, file_path: str) -> str:
    """Return the path, within the storage, of a file of an organization."""
    return f"{organization_id}/{file_path}"


def open_file(file_path: str, timeout_seconds: int) -> StoredFile:
    """Open a file of the storage; `timeout_seconds` limits each wait for a store.

    Raises ConnectionFailure if the file does not exist, is not a regular file within the storage,
    or the store cannot be reached.
    """
    if file_path.endswith("/") or ".." in file_path.split("/"):
        raise ConnectionFailure(Code.FILE_MISSING)
    if settings.STORAGE_URL:
        bucket, prefix = settings.STORAGE_URL
        return _open_object(bucket, prefix + file_path, timeout_seconds)
    try:
        return _open_local(file_path)
    except (OSError, ValueError):  # ValueError: NUL or not encodable
        raise ConnectionFailure(Code.FILE_MISSING) from None


def find_file(file_path: str) -> int:
    """Return a descriptor of a regular file in the local folder, which cannot be read from yet.

    Follows links within the folder of the organization. O_PATH has no effect on devices and does
    not block on a FIFO. Raises OSError, or ValueError if the path is malformed.
    """
    root = Path(settings.STORAGE_ROOT)
    found = os.open(root / file_path, os.O_PATH | os.O_CLOEXEC)
    try:
        folder = Path(os.path.realpath(root), file_path.partition("/")[0])
        is_below = Path(os.readlink(f"/proc/self/fd/{found}")).is_relative_to(folder)
        if not is_below or not stat.S_ISREG(os.fstat(found).st_mode):
            raise FileNotFoundError
    except BaseException:
        os.close(found)
        raise
    return found


def _open_local(file_path: str) -> LocalFile:
    """Open a file of the local folder. Raises OSError or ValueError; see `find_file`.

    The file is reopened by descriptor, because its name may lead to another file by then.
    """
    found = find_file(file_path)
    try:
        path = os.readlink(f"/proc/self/fd/{found}")
        return LocalFile(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC), path)
    finally:
        os.close(found)


def store_variables() -> dict[str, str]:
    """Return the environment variables by which boto3 finds the object store and its keys.

    They name its two files, which it would not find without a home folder.
    """
    files = {name: os.path.expanduser(path) for name, path in BOTO_FILES.items()}
    return files | {name: text for name, text in os.environ.items() if name.startswith("AWS_")}


def store_files() -> list[str]:
    """Return the paths in the environment variables of the object store."""
    return [os.environ[name] for name in STORE_FILES if name in os.environ]


def store_ports() -> set[int]:
    """Return the TCP ports of the object store, and of the services that hand out its keys."""
    ports = {443, 80}
    for name, text in os.environ.items():
        if name.startswith("AWS_") and "://" in text:
            with suppress(ValueError):
                ports.add(urlsplit(text).port or 443)
    return ports


def _open_object(bucket: str, key: str, timeout_seconds: int) -> StoredObject:
    """Open an object; boto3 reads the URL of the store and the keys from the environment.

    Raises ConnectionFailure if the object does not exist or the store cannot be reached.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        retries={"total_max_attempts": 2},
        # Not every S3-compatible store supports the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return StoredObject(boto3.client("s3", config=config), bucket, key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in MISSING_STATUSES:
            raise ConnectionFailure(Code.FILE_MISSING) from None
        raise ConnectionFailure(Code.STORAGE_FAILED) from None
    except BotoCoreError:
        raise ConnectionFailure(Code.STORAGE_FAILED) from None
