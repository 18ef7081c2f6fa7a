"""`/api/docs`: Swagger UI, served from our own files, without inline scripts or styles."""

from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer, TemplateHTMLRenderer
from rest_framework.response import Response


class DocsView(SpectacularSwaggerSplitView):
    """Serve the page of the API's documentation; errors have the envelope of the API."""

    http_method_names = ["get", "head"]
    renderer_classes = [TemplateHTMLRenderer, JSONRenderer]

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return response
