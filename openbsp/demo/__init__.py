"""A demonstration: posts the documented payloads, shows the records and the conversation, and checks both."""
