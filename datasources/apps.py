from importlib import import_module

from django.apps import AppConfig


class DataSourcesConfig(AppConfig):
    name = "datasources"
    verbose_name = "Data sources"

    def import_models(self) -> None:
        """Load also the models of the packages, which `datasources.models` does not import."""
        super().import_models()
        import_module("datasources.credentials.models")
        import_module("datasources.connection_tests.models")
        import_module("datasources.schemas.models")

    def ready(self) -> None:
        """Let `/metrics` read what the database knows of data sources."""
        # Models can be imported only now.
        from datasources.metrics import collect
        from rivergen.observability.metrics import DatabaseCollector

        DatabaseCollector.readers.append(collect)
