"""Users and groups in the Django admin: staff give and take away no rights above their own."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from organizations.exceptions import LastOwner
from organizations.models import Organization, User
from organizations.rights import Rights, rights_of_staff

SUPERUSER_REFUSED = "Only a superuser can make somebody a superuser."


def ownerless_without(user: User) -> list[str]:
    """Return a sentence for each organization that has no other owner who can sign in."""
    try:
        user.memberships.require_other_owners()
    except LastOwner as error:
        return error.sentences
    return []


class UserForm(UserChangeForm):
    """A user, edited by staff who have at least the rights of the user."""

    editor: ClassVar[Rights]

    def clean_is_superuser(self) -> bool:
        is_superuser: bool = self.cleaned_data["is_superuser"]
        if is_superuser and not self.editor.is_superuser:
            raise ValidationError(SUPERUSER_REFUSED)
        return is_superuser

    def clean_is_active(self) -> bool:
        is_active: bool = self.cleaned_data["is_active"]
        is_deactivated = self.initial.get("is_active") and not is_active
        if is_deactivated and (sentences := ownerless_without(self.instance)):
            raise ValidationError(sentences)
        return is_active


class WithinOwnRights(admin.ModelAdmin):
    """A page that offers, and accepts, only permissions and groups that the editor may give."""

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        assert request is not None
        rights = rights_of_staff(request)
        is_group = db_field.remote_field.model is Group
        kwargs["queryset"] = rights.groups() if is_group else rights.permissions()
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self.is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self.is_within(request, obj)

    def is_within(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether the editor has all rights of `obj`; True without `obj`."""
        raise NotImplementedError


@admin.register(User)
class UserAdmin(WithinOwnRights, StockUserAdmin):
    """Users whose rights are among those of the editor; others can be looked at only."""

    form = UserForm
    actions = None  # deleting is final, so one at a time: each is checked for last ownerships

    def is_within(self, request: HttpRequest, obj: User | None) -> bool:
        if obj is None:
            return True
        return rights_of_staff(request).include_those_of(User.objects.filter(pk=obj.pk))

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        user = super().get_object(request, object_id, from_field)
        if user is None or request.method != "POST":
            return user
        # Lock what is judged: the ownership of organizations, and the rights of the user.
        owned = Organization.objects.filter(memberships__user=user).order_by("pk")
        list(owned.select_for_update(no_key=True, of=("self",)))
        return self.get_queryset(request).select_for_update(no_key=True).filter(pk=user.pk).first()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.editor = rights_of_staff(request)  # the class was made for this request
        return form

    @transaction.atomic
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set the password of another user. The page for the own one asks for the current one."""
        if self.get_object(request, unquote(id)) == request.user:
            return HttpResponseRedirect(reverse("admin:password_change"))
        return super().user_change_password(request, id, form_url)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        if sentences := [sentence for user in objs for sentence in ownerless_without(user)]:
            return [str(user) for user in objs], {}, set(), sentences
        return super().get_deleted_objects(objs, request)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(WithinOwnRights, StockGroupAdmin):
    """Groups whose permissions, and whose members' rights, are among those of the editor."""

    def is_within(self, request: HttpRequest, obj: Group | None) -> bool:
        if obj is None:
            return True
        rights = rights_of_staff(request)
        may_be_given = rights.groups().filter(pk=obj.pk).exists()
        return may_be_given and rights.include_those_of(User.objects.filter(groups=obj))
