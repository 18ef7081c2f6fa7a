"""Routes of sign-in, the caller and organizations, below /api/v1/."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from organizations import views
from organizations.sign_in.views import TokenRefreshView, TokenView

router = SimpleRouter(trailing_slash=False)
router.register("organizations", views.OrganizationViewSet, basename="organization")
router.register(
    "organizations/(?P<organization_id>[^/]+)/members", views.MemberViewSet, basename="member"
)
router.register(
    "organizations/(?P<organization_id>[^/]+)/workspaces",
    views.WorkspaceViewSet,
    basename="workspace",
)

urlpatterns = [
    path("auth/token", TokenView.as_view()),
    path("auth/token/refresh", TokenRefreshView.as_view()),
    path("me", views.MeView.as_view()),
    *router.urls,
]
