from importlib import import_module

from django.apps import AppConfig


class OrganizationsConfig(AppConfig):
    name = "organizations"

    def import_models(self) -> None:
        """Load the models of the packages, too: `organizations.models` does not import them."""
        super().import_models()
        import_module("organizations.sign_in.models")
