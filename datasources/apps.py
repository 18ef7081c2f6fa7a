"""The configuration of the app: loads the models of its packages, and registers its metrics."""

from importlib import import_module

from django.apps import AppConfig


class DataSourcesConfig(AppConfig):
    name = "datasources"
    verbose_name = "Data sources"

    def import_models(self) -> None:
        """Import the models of the packages too: `datasources.models` does not import them."""
        super().import_models()
        import_module("datasources.credentials.models")
        import_module("datasources.connection_tests.models")
        import_module("datasources.schemas.models")

    def ready(self) -> None:
        """Register the metrics that are read from the database."""
        # Import here: models cannot be imported before the app is ready.
        from datasources.metrics import collect
        from rivergen.observability.metrics import DatabaseCollector

        DatabaseCollector.readers.append(collect)
