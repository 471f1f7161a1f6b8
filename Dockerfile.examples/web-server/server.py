"""A web server of one page: / is the page, /hello a greeting, /health says ok."""

from __future__ import annotations

import http.server
import os
import pathlib
import sys
import urllib.request

PORT = int(os.environ.get("PORT", "8080"))
PAGE = pathlib.Path(__file__).with_name("page.html")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {"/": PAGE.read_bytes(), "/hello": b"Hello from pycontain!\n", "/health": b"ok\n"}
        body = answers.get(self.path)
        self.send_response(200 if body else 404)
        body = body or b"not found\n"
        kind = "text/html" if self.path == "/" else "text/plain"
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    if "--check" in sys.argv:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2) as answer:
            sys.exit(answer.read() != b"ok\n")
    server = http.server.ThreadingHTTPServer(("", PORT), Handler)
    print(f"listening on port {PORT}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("bye", flush=True)


if __name__ == "__main__":
    main()
