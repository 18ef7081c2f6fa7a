"""The admin of data sources: the list, the form, and the pages around the form."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from datasources.admin import buttons
from datasources.admin.fieldsets import OBSERVED_FIELDS, fieldsets
from datasources.admin.filters import OrganizationFilter, OverdueFilter
from datasources.admin.forms import DataSourceForm
from datasources.admin.history import differences, history_page
from datasources.admin.overview import overview
from datasources.admin.panels import panels
from datasources.admin.schema import schema_page
from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.models import DataSource, DataSourceRevision
from datasources.models.field_names import SEARCHED_FIELDS
from datasources.schemas.snapshots.models import SchemaSnapshot
from rivergen.http.input import read_id

TEMPLATES = "admin/datasources/datasource"
FIXED_FIELDS = ("workspace", "type")


@admin.register(DataSource)
class DataSourceAdmin(admin.ModelAdmin):
    """Data sources of all organizations."""

    form = DataSourceForm
    list_display = (
        "name",
        "type",
        "organization",
        "workspace_name",
        "status",
        "credentials_status",
        "updated_at",
    )
    list_filter = (
        ("organization", OrganizationFilter),
        "type",
        "status",
        "credentials_status",
        OverdueFilter,
    )
    list_select_related = ("organization", "workspace")
    search_fields = SEARCHED_FIELDS
    search_help_text = "Searches name, description, host and database."
    autocomplete_fields = ("workspace",)
    # "12 results (100,000 total)": counting all rows would be the slowest query of the page.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    @property
    def media(self) -> forms.Media:
        organization = DataSource._meta.get_field("organization")
        css = forms.Media(css={"all": ["datasources/admin.css"]})
        return super().media + AutocompleteSelect(organization, self.admin_site).media + css

    @admin.display(description="workspace", ordering="workspace__name")
    def workspace_name(self, data_source: DataSource) -> str:
        """Return the name without the organization, which has its own column."""
        return data_source.workspace.name

    # The form

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        # Lock the row: of two saves of the same version, the second then fails the version check.
        if request.method == "POST":
            DataSource.objects.for_update().filter(pk=read_id(object_id)).first()
        return super().get_object(request, object_id, from_field)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return OBSERVED_FIELDS if obj is None else (*FIXED_FIELDS, *OBSERVED_FIELDS)

    def get_fieldsets(self, request: HttpRequest, obj: DataSource | None = None) -> Any:
        if obj is None:
            return fieldsets()
        credentials: tuple[str, ...] = ()
        if self.has_change_permission(request, obj):
            credentials = obj.connector.credential_fields
            if obj.has_secrets:
                credentials = (*credentials, "removed_secrets")
        return fieldsets(obj, credentials)

    def get_form(self, request: HttpRequest, *args: Any, fields: Any = (), **kwargs: Any) -> Any:
        # Credentials are form fields without a column; Django would raise FieldError for them.
        columns = [field for field in fields or () if field not in CREDENTIAL_FIELDS]
        return super().get_form(request, *args, fields=columns, **kwargs)

    def save_model(self, request: HttpRequest, obj: DataSource, form: Any, change: bool) -> None:
        author = buttons.author(request)
        if change:
            obj.apply_changes(form.changes, user=author)
            obj.set_credentials(form.credentials, user=author)
        else:
            obj.created_by = obj.updated_by = author.user
            obj.save(author=author)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **options: Any
    ) -> HttpResponse:
        if options.get("obj") is not None:
            has_errors = bool(context["errors"])
            context |= panels(options["obj"], buttons.staff_user(request), has_errors)
        return super().render_change_form(request, context, *args, **options)

    def response_add(self, request: HttpRequest, obj: DataSource, *args: Any) -> HttpResponse:
        response = super().response_add(request, obj, *args)
        # Continue on the change page: it offers the credentials of the type that was chosen.
        is_plain_save = "_save" in request.POST
        return HttpResponseRedirect(change_page(obj.pk)) if is_plain_save else response

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # The default page would list every revision.
        pks = [data_source.pk for data_source in objs]
        counts = {
            "data sources": len(pks),
            "revisions": DataSourceRevision.objects.filter(data_source__in=pks).count(),
            "schema snapshots": SchemaSnapshot.objects.filter(data_source__in=pks).count(),
        }
        return [str(data_source) for data_source in objs], counts, set(), []

    # The pages around the form

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"datasources_{name}")

        def button(name: str, action: buttons.Action) -> URLPattern:
            def view(request: HttpRequest, object_id: int) -> HttpResponse:
                return self.button_view(request, object_id, action)

            route = f"<int:object_id>/{name.replace('_', '-')}/"
            return page(route, require_POST(view), name)

        return [
            page("overview/", self.overview_view, "overview"),
            page("<int:object_id>/schema/", self.schema_view, "schema"),
            button("test_connection", buttons.test_connection),
            button("refresh_schema", buttons.refresh_schema),
            button("confirm_credentials", buttons.confirm_credentials),
            button("confirm_host_key", buttons.confirm_host_key),
            button("restore", buttons.restore),
            *super().get_urls(),
        ]

    def button_view(
        self, request: HttpRequest, object_id: int, action: buttons.Action
    ) -> HttpResponse:
        """Run the action of a button, and redirect to the page of the data source."""
        if not self.has_change_permission(request, self.find(request, object_id)):
            raise PermissionDenied
        buttons.run_action(request, action, object_id)
        return HttpResponseRedirect(change_page(object_id))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Show the revisions, each with a button that restores it."""
        data_source = self.find(request, read_id(object_id))
        before = read_id(request.GET.get("before", "")) or None
        page, next_before = history_page(data_source, before)
        revisions = [(revision, differences(revision.changes)) for revision in page]
        context = {"title": "History", "revisions": revisions, "next_before": next_before}
        return self.page(request, "history", data_source, context)

    def schema_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the tables of a snapshot, and what changed since the snapshot before."""
        data_source = self.find(request, object_id)
        context = {"title": "Schema", **schema_page(data_source, request.GET)}
        return self.page(request, "schema", data_source, context)

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Show figures and charts of all data sources."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.page(request, "overview", None, {"title": "Overview", **overview()})

    def page(
        self,
        request: HttpRequest,
        template: str,
        data_source: DataSource | None,
        context: dict[str, Any],
    ) -> HttpResponse:
        """Render a page about one data source, or about all (`data_source` is None)."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "data_source": data_source,
            "has_change_permission": self.has_change_permission(request, data_source),
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}.html", context)

    def find(self, request: HttpRequest, pk: int) -> DataSource:
        """Return a data source; raise Http404, or PermissionDenied without the view permission."""
        data_source: DataSource = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, data_source):
            raise PermissionDenied
        return data_source


def change_page(pk: int) -> str:
    """Return the path of the page with the form."""
    return reverse("admin:datasources_datasource_change", args=[pk])
