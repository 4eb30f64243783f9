"""Settings of topics, changed and looked at as somebody else than the project does."""

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from support.wait import eventually


def settings_of(admin: AdminClient, topic: str) -> dict[str, str]:
    """Return all settings of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {entry.name: entry.value for entry in admin.describe_configs([resource])[resource].result(10).values()}


def change_settings(admin: AdminClient, topic: str, **settings: str) -> None:
    """Set them, with `_` for each dot of a name, and return when the broker works by them.

    Trap: the controller answers, and the broker hears of it a moment later.
    """
    wanted = {name.replace("_", "."): value for name, value in settings.items()}
    entries = [ConfigEntry(*setting, incremental_operation=AlterConfigOpType.SET) for setting in wanted.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(10)
    eventually(lambda: wanted.items() <= settings_of(admin, topic).items())
