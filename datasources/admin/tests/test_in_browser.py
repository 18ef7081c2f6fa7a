"""Staff at work in a real browser, with the whole service and a real worker running."""

import json
from typing import Any

from django.test import SimpleTestCase

from datasources.admin.testing import Page, expect, watched_page
from datasources.testing import ADMIN_PAGES
from rivergen.testing.run import Run, fresh_copy, running

WORKER_TIMEOUT_MS = 30_000


class AdminInBrowserTests(SimpleTestCase):
    service: Run
    page: Page

    def setUp(self) -> None:
        self.service = self.enterContext(running(self.enterContext(fresh_copy())))
        site = f"http://127.0.0.1:{self.service.port}"
        self.watcher = self.enterContext(watched_page(site, "admin"))
        self.page = self.watcher.page

    def see(self, text: str) -> None:
        """Wait until the page shows a text."""
        expect(self.page.locator("#container")).to_contain_text(text, timeout=WORKER_TIMEOUT_MS)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def see_names(self, *names: str) -> None:
        """Wait until the list shows exactly these names."""
        expect(self.page.locator("#result_list th.field-name")).to_have_text(names)

    def log_in(self) -> None:
        self.page.goto("/admin/")
        self.watcher.screenshot("log in")
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
        self.watcher.screenshot("filtered list")

    def edit_a_data_source(self) -> None:
        self.follow("Production PostgreSQL")
        self.page.get_by_label("Port:", exact=True).fill("0")
        self.press("Save and continue editing")
        self.see("Ensure this value is greater than or equal to 1.")
        self.watcher.screenshot("validation error")
        self.page.get_by_label("Port:", exact=True).fill("5433")
        self.page.get_by_label("Password:", exact=True).fill("hunter2")
        self.press("Save and continue editing")
        self.see("was changed successfully")
        self.see("Credentials: set")
        self.assertNotIn("hunter2", self.page.content())
        self.watcher.screenshot("saved")

    def restore_a_version(self) -> None:
        self.follow("History")
        self.see("5432 → 5433")
        self.assertNotIn("hunter2", self.page.content())
        self.watcher.screenshot("history")
        self.press_in_row("1", "Restore this version")
        self.see("Version 1 was restored as version 4.")
        expect(self.page.get_by_label("Port:", exact=True)).to_have_value("5432")
        self.watcher.screenshot("restored")

    def press_in_row(self, version: str, button: str) -> None:
        version_cell = self.page.get_by_role("rowheader", name=version, exact=True)
        row = self.page.get_by_role("row").filter(has=version_cell)
        row.get_by_role("button", name=button).click()

    def save_a_stale_form(self) -> None:
        self.patch_as_editor(port=5434)
        self.page.get_by_label("Description:").fill("Mine")
        self.press("Save")
        self.see("This data source has changed since you opened it.")
        self.see("demo-editor")
        self.see("port: 5432 → 5434")
        self.watcher.screenshot("stale form")
        stored = json.load(self.service.request())["data"]
        self.assertEqual(stored["description"], "The orders database")

    def patch_as_editor(self, **changes: Any) -> None:
        """Change the data source over the API as an editor, who may not confirm secrets."""
        credentials = {"username": "demo-editor", "password": self.service.password}
        response = self.page.request.post("/api/v1/auth/token", data=credentials)
        token = response.json()["data"]["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        path = "/api/v1/data-sources/1"
        response = self.page.request.patch(path, data=changes, headers=headers)
        self.assertEqual(response.status, 200, response.text())

    def confirm_credentials(self) -> None:
        self.page.goto(f"{ADMIN_PAGES}1/change/")
        self.see("Credentials: unconfirmed")
        self.watcher.screenshot("credentials to confirm")
        self.press("Test connection")
        self.see("The destination was changed.")
        self.press("Confirm credentials")
        self.see("Credentials: set")

    def run_connection_tests(self) -> None:
        self.press("Test connection")
        self.see("Connection failed: ")
        expect(self.page.locator("#last-test")).to_contain_text("dns")
        self.watcher.screenshot("failed test")
        self.page.goto(ADMIN_PAGES)
        self.follow("Orders CSV")
        self.press("Test connection")
        self.see("Connected.")
        expect(self.page.locator("#last-test")).to_contain_text("OK")
        self.watcher.screenshot("successful test")

    def read_the_schema(self) -> None:
        self.press("Refresh schema")
        self.see("The schema was read. Tables: 1.")
        self.follow("Schema")
        self.see("ordered_at")
        self.watcher.screenshot("schema")

    def open_the_overview(self) -> None:
        self.page.goto(ADMIN_PAGES)
        self.follow("Overview")
        self.see("By type and status")
        self.see("Latest failures")
        self.watcher.screenshot("overview")

    def add_a_data_source(self) -> None:
        self.page.goto(f"{ADMIN_PAGES}add/")
        self.page.get_by_label("Name:", exact=True).fill("Lake")
        self.page.get_by_label("Type:").select_option(label="Parquet file")
        self.page.locator(".field-workspace .select2-selection").click()
        self.page.locator(".select2-results__option", has_text="Default of Globex").click()
        self.press("Save")
        self.see("was added successfully")
        self.watcher.screenshot("added")

    def test_staff_work_through_all_pages(self) -> None:
        for step in (
            self.log_in,
            self.filter_the_list,
            self.edit_a_data_source,
            self.restore_a_version,
            self.save_a_stale_form,
            self.confirm_credentials,
            self.run_connection_tests,
            self.read_the_schema,
            self.open_the_overview,
            self.add_a_data_source,
        ):
            step()
            self.assertEqual(self.watcher.faults, [], step.__name__)
