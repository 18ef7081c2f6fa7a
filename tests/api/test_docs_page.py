"""The page of the API at /api/docs, in a real browser, with the demo of `make run`."""

import json

from django.test import SimpleTestCase

from datasources.admin.testing import Page, ViewportSize, expect, watched_page
from rivergen.testing.run import Run, fresh_copy, running

# Requests that read what the demo has at once. Nothing has been tested or refreshed in it.
READERS = {
    "Sign-in": ("getMe",),
    "Data sources": ("listDataSources", "getDataSource", "listDataSourceTypes"),
    "Credentials": ("getCredentials",),
    "History": ("listHistory",),
    "Organizations": ("listOrganizations", "getOrganization"),
    "Members": ("listMembers",),
    "Workspaces": ("listWorkspaces",),
}
# Swagger UI shows a plain field for a format that it does not know, and says so.
UNKNOWN_FORMAT = "Console: Could not find component: JsonSchema_"
NARROW: ViewportSize = {"width": 390, "height": 844}


class DocsPageInBrowserTests(SimpleTestCase):
    service: Run
    page: Page

    def setUp(self) -> None:
        self.service = self.enterContext(running(self.enterContext(fresh_copy())))
        site = f"http://127.0.0.1:{self.service.port}"
        self.watcher = self.enterContext(watched_page(site, "docs"))
        self.page = self.watcher.page

    def operation(self, tag: str, name: str):
        """Return the part of the page that is about one operation."""
        return self.page.locator(f"[id='operations-{tag.replace(' ', '_')}-{name}']")

    def press_summary(self, operation) -> None:
        """Open an operation, or close it: Swagger UI renders all open ones after each change."""
        operation.locator(".opblock-summary-control").click()

    def try_out(self, tag: str, name: str):
        """Open an operation and press "Try it out"."""
        operation = self.operation(tag, name)
        self.press_summary(operation)
        operation.get_by_role("button", name="Try it out").click()
        return operation

    def execute(self, operation) -> tuple[int, str]:
        """Press "Execute" and return the status and the body of the response."""
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table .response")
        status = int(answer.locator(".response-col_status").inner_text().split()[0])
        return status, answer.locator(".highlight-code, .microlight").first.inner_text()

    def sign_in(self) -> str:
        operation = self.try_out("Sign-in", "createToken")
        body = operation.locator("textarea.body-param__text")
        credentials = json.loads(body.input_value())
        self.assertEqual(credentials["username"], "demo-owner")
        body.fill(json.dumps(credentials | {"password": self.service.password}))
        status, text = self.execute(operation)
        self.assertEqual(status, 200, text)
        self.press_summary(operation)
        return text.partition('"access_token": "')[2].partition('"')[0]

    def authorize(self, token: str) -> None:
        self.page.get_by_role("button", name="Authorize").first.click()
        dialog = self.page.locator(".modal-ux")
        dialog.get_by_role("textbox").fill(token)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").first.click()

    def test_filled_in_requests_of_the_docs_page_work_on_the_demo(self):
        self.page.goto("/api/docs")
        expect(self.page.get_by_role("heading", name="Getting started")).to_be_visible()
        self.watcher.screenshot("page")
        self.authorize(self.sign_in())
        for tag, names in READERS.items():
            for name in names:
                with self.subTest(name=name):
                    operation = self.try_out(tag, name)
                    status, text = self.execute(operation)
                    self.assertEqual(status, 200, text)
                    self.press_summary(operation)
        update = self.try_out("Data sources", "updateDataSource")
        self.watcher.screenshot("update")
        filled = {
            row.get_attribute("data-param-name"): row.locator("input, select").first.input_value()
            for row in update.locator("tr[data-param-name]").all()
        }
        self.assertEqual(
            {name: text for name, text in filled.items() if text}, {"data_source_id": "1"}
        )
        status, text = self.execute(update)
        self.assertEqual(status, 200, text)
        self.assertIn("newhost.example.com", text)
        self.watcher.screenshot("updated")
        faults = [fault for fault in self.watcher.faults if UNKNOWN_FORMAT not in fault]
        self.assertEqual(faults, [])
        self.page.set_viewport_size(NARROW)
        self.page.goto("/api/docs")
        expect(self.page.get_by_role("heading", name="Getting started")).to_be_visible()
        self.watcher.screenshot("narrow")
