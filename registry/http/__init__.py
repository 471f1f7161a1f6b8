"""HTTP/1.1 on sockets, as much as a registry needs (RFC 9110, RFC 9112); nothing here knows of images."""
