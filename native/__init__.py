"""C sources of the request path, compiled at install; everything works without them, slower."""
