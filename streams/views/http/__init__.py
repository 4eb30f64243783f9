"""The views over HTTP: routes, sign-in, OpenAPI, page."""
