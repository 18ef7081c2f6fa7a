"""`/`: a page with links to the documentation, openapi.json and the admin."""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Return the page, which is the same for everybody: neither a session nor a row is read."""
    return HttpResponse(render_to_string("rivergen/index.html"))
