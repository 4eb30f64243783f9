"""The main job, shown: the documented payloads in, the records and the conversation out, and a check of both."""
