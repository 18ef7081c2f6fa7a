"""Organizations in the Django admin, with the same rules as the API."""

import contextlib
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from organizations.exceptions import LastOwner
from organizations.models import Membership, Organization, Role, Workspace
from organizations.rights import Rights, rights_of_staff
from rivergen.errors import Gone
from rivergen.http.input import read_id

OWNER_REQUIRED = LastOwner.message
ROLE_REFUSED = (
    "Your role in this organization is {own}, so you cannot give, change or remove the role {role}."
)
WORKSPACE_REQUIRED = "An organization needs at least one workspace."


class RemainingFormSet(forms.BaseInlineFormSet):
    """Rows edited on the page of an organization, which stays locked until they are saved."""

    def remaining(self) -> list[forms.ModelForm]:
        """Return the forms that have data and are not marked for deletion."""
        return [
            form
            for form in self.forms
            if form not in self.deleted_forms and (form.instance.pk or form.has_changed())
        ]


class MembershipFormSet(RemainingFormSet):
    """The members of an organization, at least one of them an owner."""

    editor: ClassVar[Rights]

    def clean(self) -> None:
        super().clean()
        if self.instance.pk is not None and not self.has_changed():
            return
        members = [form.instance for form in self.remaining() if form.is_valid()]
        if not any(one.role == Role.OWNER and one.user.is_active for one in members):
            raise ValidationError(OWNER_REQUIRED)
        if self.instance.pk is not None:  # the founder of a new organization names its owner
            self._check_roles(self.instance.pk)

    def _check_roles(self, organization_id: int) -> None:
        """Raise ValidationError if a change concerns a role above that of the editor."""
        changed = [form for form in self.forms if form.has_changed() and form.is_valid()]
        for form in [*changed, *self.deleted_forms]:
            for role in (form.initial.get("role"), form.instance.role):
                if role and not self.editor.include_role(organization_id, role):
                    own = self.editor.roles.get(organization_id)
                    raise ValidationError(ROLE_REFUSED.format(own=own, role=role))

    def store(self, organization: Organization) -> None:
        """Save the changes: additions and new owners before removals."""
        self.save(commit=False)
        for membership in self.new_objects:
            organization.add_member(membership.user, membership.role)
        changed = [membership for membership, _ in self.changed_objects]
        for membership in sorted(changed, key=lambda changed: changed.role != Role.OWNER):
            membership.change_role(membership.role)
        for membership in self.deleted_objects:
            membership.remove()


class WorkspaceFormSet(RemainingFormSet):
    """The workspaces of an organization, at least one."""

    def clean(self) -> None:
        super().clean()
        if not self.remaining():
            raise ValidationError(WORKSPACE_REQUIRED)

    def store(self, organization: Organization) -> None:
        """Save the changes: additions before removals."""
        self.save(commit=False)
        for workspace in (*self.new_objects, *(changed for changed, _ in self.changed_objects)):
            workspace.save_unique()
        for workspace in self.deleted_objects:
            workspace.remove()


class MembershipForm(forms.ModelForm):
    """A member, whose user cannot be changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].disabled = self.instance.pk is not None


class MembershipInline(admin.TabularInline):
    """Members, edited on the page of their organization."""

    model = Membership
    form = MembershipForm
    formset = MembershipFormSet
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    extra = 0

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset: Any = super().get_formset(request, obj, **kwargs)
        formset.editor = rights_of_staff(request)  # the class was made for this request
        return formset

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_add_permission(request, obj) and is_admin_of(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and is_admin_of(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and is_admin_of(request, obj)


def is_admin_of(request: HttpRequest, organization: Organization | None) -> bool:
    """Return whether the role of the editor is at least admin; True for a new organization."""
    if organization is None:
        return True
    return rights_of_staff(request).include_role(organization.pk, Role.ADMIN)


class WorkspaceInline(admin.TabularInline):
    """Workspaces, edited on the page of their organization."""

    model = Workspace
    formset = WorkspaceFormSet
    fields = ("name",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("organization")


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):
    """Organizations, with their members and workspaces."""

    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("created_at",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None or rights_of_staff(request).is_superuser:
            return self.readonly_fields
        # Declarations find the organization by its slug: another one would get their secrets.
        return ("slug", *self.readonly_fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # An organization needs an owner, which is a membership.
        may_add_members = request.user.has_perm("organizations.add_membership")
        return super().has_add_permission(request) and may_add_members

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        is_owner = obj is None or rights_of_staff(request).include_role(obj.pk, Role.OWNER)
        return super().has_delete_permission(request, obj) and is_owner

    def get_inlines(self, request: HttpRequest, obj: Any) -> tuple[type[Any], ...]:
        # No workspace is asked for: saving a new organization creates the default workspace.
        return (MembershipInline,) if obj is None else (MembershipInline, WorkspaceInline)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        if request.method == "POST":
            Organization.objects.select_for_update(no_key=True).filter(
                pk=read_id(object_id)
            ).first()
        return super().get_object(request, object_id, from_field)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.store(form.instance)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # The default page would list every related row, revisions included.
        counts = {
            "organizations": len(objs),
            "members": Membership.objects.filter(organization__in=objs).count(),
            "workspaces": Workspace.objects.filter(organization__in=objs).count(),
            "data sources, with their history": sum(
                organization.data_sources.count() for organization in objs
            ),
        }
        is_allowed = all(self.has_delete_permission(request, one) for one in objs)
        lacking = set() if is_allowed else {str(self.opts.verbose_name)}
        return [str(organization) for organization in objs], counts, lacking, []

    def delete_model(self, request: HttpRequest, obj: Organization) -> None:
        obj.remove()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for organization in queryset:
            with contextlib.suppress(Gone):  # another request removed it first
                organization.remove()


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin):
    """Serve autocomplete fields only: workspaces are edited on the page of their organization."""

    search_fields = ("name", "organization__name", "organization__slug")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("organization")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
