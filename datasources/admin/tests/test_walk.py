"""A day in the back office: a real browser, the whole service, a real worker."""

import json
from typing import Any

from django.test import SimpleTestCase

from datasources.admin.testing import Page, expect, watched_page
from datasources.testing import ADMIN_PAGES
from rivergen.testing.run import Run, fresh_copy, running

WORKER_TIMEOUT_MS = 30_000


class WalkTests(SimpleTestCase):
    service: Run
    page: Page

    def setUp(self) -> None:
        self.service = self.enterContext(running(self.enterContext(fresh_copy())))
        site = f"http://127.0.0.1:{self.service.port}"
        self.watcher = self.enterContext(watched_page(site, "back office"))
        self.page = self.watcher.page

    def see(self, text: str) -> None:
        """Wait until the page shows this."""
        expect(self.page.locator("#container")).to_contain_text(text, timeout=WORKER_TIMEOUT_MS)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def see_names(self, *names: str) -> None:
        """Wait until the list has these, and only these."""
        expect(self.page.locator("#result_list th.field-name")).to_have_text(names)

    def log_in(self) -> None:
        self.page.goto("/admin/")
        self.watcher.picture("log in")
        self.page.get_by_label("Username").fill("demo-staff")
        self.page.get_by_label("Password").fill(self.service.password)
        self.press("Log in")
        self.see("Site administration")

    def filter_the_list(self) -> None:
        self.page.goto(ADMIN_PAGES)
        self.see_names("Orders CSV", "Production PostgreSQL")
        self.page.locator(".organization-filter .select2-selection").click()
        self.page.locator(".select2-search__field").fill("glob")
        self.page.locator(".select2-results__option", has_text="Globex").click()
        self.press("Filter")
        self.see("0 data sources")
        self.follow("All")
        self.follow("PostgreSQL")
        self.see("1 data source")
        self.see_names("Production PostgreSQL")
        self.watcher.picture("filtered list")

    def edit(self) -> None:
        self.follow("Production PostgreSQL")
        self.page.get_by_label("Port:", exact=True).fill("0")
        self.press("Save and continue editing")
        self.see("Ensure this value is greater than or equal to 1.")
        self.watcher.picture("validation error")
        self.page.get_by_label("Port:", exact=True).fill("5433")
        self.page.get_by_label("Password:", exact=True).fill("hunter2")
        self.press("Save and continue editing")
        self.see("was changed successfully")
        self.see("Credentials: set")
        self.assertNotIn("hunter2", self.page.content())
        self.watcher.picture("saved")

    def restore(self) -> None:
        self.follow("History")
        self.see("5432 → 5433")
        self.assertNotIn("hunter2", self.page.content())
        self.watcher.picture("history")
        self.press_in_row("1", "Restore this version")
        self.see("Version 1 is restored, as version 4.")
        expect(self.page.get_by_label("Port:", exact=True)).to_have_value("5432")
        self.watcher.picture("restored")

    def press_in_row(self, version: str, button: str) -> None:
        version_cell = self.page.get_by_role("rowheader", name=version, exact=True)
        row = self.page.get_by_role("row").filter(has=version_cell)
        row.get_by_role("button", name=button).click()

    def be_overtaken(self) -> None:
        self.patch_as_editor(port=5434)
        self.page.get_by_label("Description:").fill("Mine")
        self.press("Save")
        self.see("Somebody else has changed this data source since you opened it.")
        self.see("demo-editor")
        self.see("port: 5432 → 5434")
        self.watcher.picture("overtaken")
        stored = json.load(self.service.request())["data"]
        self.assertEqual(stored["description"], "The orders database")

    def patch_as_editor(self, **changes: Any) -> None:
        """Change the data source by the API, as somebody who may not confirm secrets."""
        credentials = {"username": "demo-editor", "password": self.service.password}
        response = self.page.request.post("/api/v1/auth/token", data=credentials)
        token = response.json()["data"]["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        path = "/api/v1/data-sources/1"
        response = self.page.request.patch(path, data=changes, headers=headers)
        self.assertEqual(response.status, 200, response.text())

    def confirm(self) -> None:
        self.page.goto(f"{ADMIN_PAGES}1/change/")
        self.see("Credentials: unconfirmed")
        self.watcher.picture("credentials to confirm")
        self.press("Test connection")
        self.see("The destination was moved.")
        self.press("Confirm credentials")
        self.see("Credentials: set")

    def try_connections(self) -> None:
        self.press("Test connection")
        self.see("It does not connect: ")
        expect(self.page.locator("#last-test")).to_contain_text("dns")
        self.watcher.picture("test that fails")
        self.page.goto(ADMIN_PAGES)
        self.follow("Orders CSV")
        self.press("Test connection")
        self.see("It connects.")
        expect(self.page.locator("#last-test")).to_contain_text("OK")
        self.watcher.picture("test that works")

    def look_into_the_schema(self) -> None:
        self.press("Refresh schema")
        self.see("The schema was read. Tables: 1.")
        self.follow("Schema")
        self.see("ordered_at")
        self.watcher.picture("schema")

    def look_over_all(self) -> None:
        self.page.goto(ADMIN_PAGES)
        self.follow("Overview")
        self.see("By type and status")
        self.see("Failed last")
        self.watcher.picture("overview")

    def add(self) -> None:
        self.page.goto(f"{ADMIN_PAGES}add/")
        self.page.get_by_label("Name:", exact=True).fill("Lake")
        self.page.get_by_label("Type:").select_option(label="Parquet file")
        self.page.locator(".field-workspace .select2-selection").click()
        self.page.locator(".select2-results__option", has_text="Default of Globex").click()
        self.press("Save")
        self.see("was added successfully")
        self.watcher.picture("added")

    def test_walks_through_all_pages(self) -> None:
        for step in (
            self.log_in,
            self.filter_the_list,
            self.edit,
            self.restore,
            self.be_overtaken,
            self.confirm,
            self.try_connections,
            self.look_into_the_schema,
            self.look_over_all,
            self.add,
        ):
            step()
            self.assertEqual(self.watcher.faults, [], step.__name__)
