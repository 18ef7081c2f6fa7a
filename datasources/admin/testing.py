"""Tests in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from datasources.connections.testing.servers import require_program, skip_or_fail

try:
    from playwright.sync_api import (
        Browser,
        ConsoleMessage,
        Page,
        Response,
        ViewportSize,
        expect,
        sync_playwright,
    )
except ImportError:
    skip_or_fail("playwright is not installed: pip install -r requirements-dev.txt")

__all__ = ["Browser", "Page", "ViewportSize", "Watcher", "chromium", "expect", "watched_page"]

SIZE: ViewportSize = {"width": 1300, "height": 900}


class Watcher:
    """Collects console errors, failed responses and foreign requests; takes screenshots."""

    def __init__(self, page: Page, site: str, folder: Path) -> None:
        self.page = page
        self.faults: list[str] = []
        self._site = urlsplit(site).netloc
        self._folder = folder
        self._count = 0
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"Error: {error}"))
        page.context.on("request", lambda request: self._on_request(request.url))
        page.context.on("response", self._on_response)

    def screenshot(self, name: str) -> None:
        """Save a screenshot of the whole page."""
        self._count += 1
        path = self._folder / f"{self._count:02} {name}.png"
        self.page.screenshot(path=path, full_page=True)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"Console: {message.text}")

    def _on_request(self, url: str) -> None:
        if urlsplit(url).netloc != self._site:
            self.faults.append(f"Request to another site: {url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"Status {response.status}: {response.url}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium until the block ends."""
    program = require_program("chromium", "chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(site: str, folder_name: str) -> Iterator[Watcher]:
    """Open a browser with an empty page; screenshots go below `.screenshots/`, out of git."""
    folder: Path = settings.BASE_DIR / ".screenshots" / folder_name
    shutil.rmtree(folder, ignore_errors=True)
    with chromium() as browser:
        yield Watcher(browser.new_page(viewport=SIZE, base_url=site), site, folder)
