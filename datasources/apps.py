from importlib import import_module

from django.apps import AppConfig


class DataSourcesConfig(AppConfig):
    name = "datasources"
    verbose_name = "Data sources"

    def import_models(self) -> None:
        """Load the models of the packages, too: `models` knows them by their managers only."""
        super().import_models()
        import_module("datasources.credentials.models")
        import_module("datasources.connection_tests.models")
        import_module("datasources.schemas.models")
