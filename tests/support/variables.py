"""All variables that the processes of the project read, as their settings describe them."""

from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.settings import OpenBspSettings
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import describe
from streams.settings import StreamsSettings

KNOWN = {
    setting.variable: setting
    for setting in describe(
        BridgeSettings,
        StreamsSettings,
        ReconcileSettings,
        OpenBspSettings,
        KafkaSettings,
        RegistrySettings,
        TopicSettings,
    )
}
