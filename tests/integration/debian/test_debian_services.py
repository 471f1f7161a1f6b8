"""Servers: redis, PostgreSQL, nginx."""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from collections.abc import Callable

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_redis(either: DebianUser) -> None:
    """As the user redis, saved and loaded again; and its benchmark."""
    port = free_port()
    out = either.sh(
        f"""
        r="redis-cli -p {port}"
        start() {{ gosu redis redis-server --port {port} --dir /var/lib/redis --daemonize yes --save '' >/dev/null
            for i in $(seq 200); do $r ping 2>/dev/null | grep -q PONG && break; sleep 0.02; done; }}
        start; redis-benchmark -p {port} -q -n 5000 -P 10 -t set,get,incr,lpush | tr '\\r' '\\n' | grep -c 'requests per second'
        $r set key value; $r save; $r bgsave; ps -o user= -C redis-server | sort -u
        $r shutdown nosave; start; $r get key; stat -c %U /var/lib/redis/dump.rdb; $r config get port; $r shutdown nosave
        """
    )
    assert out.splitlines() == [
        *("4", "OK", "OK", "Background saving started", "redis", "value", "redis", "port", str(port))
    ]


def test_postgresql(either: DebianUser) -> None:
    port = free_port()
    out = either.sh(
        f"""
        PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); export PATH PGPORT={port}; cd /
        install -d -o postgres /data /run/postgresql; su postgres -c 'initdb -N -D /data' >/log || cat /log
        su postgres -c 'pg_ctl -w -D /data -l /tmp/pg.log -o "-c fsync=off -c max_connections=20" start' >/log || cat /log /tmp/pg.log
        su postgres -c 'pgbench -i -q -s 1 postgres' 2>&1 | tail -1 | cut -c1-7
        su postgres -c 'pgbench -n -c 4 -j 2 -t 100 postgres' | grep -E 'actually processed|failed'
        su postgres -c "psql -Atc 'select count(*) from pgbench_history'" ; ps -o user= -C postgres | sort -u
        su nobody -s /bin/sh -c 'psql -Atc "select 1" postgres' || echo refused
        su postgres -c 'pg_ctl -D /data -m fast stop' | tail -1; su postgres -c 'pg_controldata /data' | grep -c 'shut down'
        initdb -D /x 2>&1 | head -1
        """,
        timeout=200,
    )
    for text in (
        "done in",
        "400/400",
        "\n400\npostgres\n",
        "refused",
        "server stopped\n1\n",
        "cannot be run as root",
    ):
        assert text in out, out


@pytest.mark.parametrize(
    "words", [["nginx", "-g", "daemon off;"], ["tini", "--", "nginx", "-g", "daemon off;"]]
)
def test_nginx(either: DebianUser, started: Callable[..., str], words: list[str]) -> None:
    """The master is root, its workers are www-data; as process 1 and below another."""
    port = free_port()
    name = started(
        *("-e", f"PORT={port}", either.IMAGE, "sh", "-c"),
        'sed -i "s/listen 80 default_server/listen $PORT default_server/; /::/d" /etc/nginx/sites-available/default;'
        "rm -f /etc/nginx/modules-enabled/*; head -c 3000000 /dev/urandom > /var/www/html/large;"
        "echo denied > /var/www/html/secret; chmod 600 /var/www/html/secret;"
        'exec "$@"',
        "sh",
        *words,
    )
    either(
        *("exec", name, "sh", "-c"),
        f"for i in $(seq 200); do curl -sfm 5 http://127.0.0.1:{port}/ >/dev/null && exit; sleep 0.05; done; exit 1",
    )
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/large", timeout=20) as answer:
        assert len(answer.read()) == 3000000
    out = either(
        *("exec", name, "sh", "-c"),
        f"for p in / /nosuch /secret; do curl -sm 9 -o /dev/null -w '%{{http_code}} ' http://127.0.0.1:{port}$p; done; echo;"
        "ps -o user= -C nginx | sort | uniq -c | awk '{print $2}'; wc -l < /var/log/nginx/access.log; nginx -s reload;"
        f"sleep 0.3; curl -sm 9 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/",
    ).stdout
    assert out.split()[:5] == ["200", "404", "403", "root", "www-data"]
    assert out.endswith("200")
    either("stop", name)
    assert either("wait", name).stdout == "0\n"


def test_nginx_in_front_of_a_unix_socket(either: DebianUser) -> None:
    """It watches a connection before it makes it."""
    port = free_port()
    out = either.sh(
        f"""
        rm -f /etc/nginx/modules-enabled/* /etc/nginx/sites-enabled/*
        echo 'server {{ listen unix:/run/upstream.sock; location / {{ return 200 "upstream "; }} }}
              server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://unix:/run/upstream.sock; }}
                        proxy_read_timeout 5s; }}' > /etc/nginx/conf.d/proxy.conf
        nginx; for i in 1 2 3; do curl -sm 9 http://127.0.0.1:{port}/; done; nginx -s stop 2>/dev/null
        """
    )
    assert out == "upstream " * 3


def test_nginx_on_a_low_port(debian: DebianUser) -> None:
    """Port 80, or another below 1024 if it is taken: by a kernel that may bind it."""
    port = 0
    for wanted in (80, 81, 999):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", wanted)):
            port = wanted
            break
    if not port:
        pytest.skip("this user may bind no port below 1024")
    out = debian.sh(
        f"""
        sed -i 's/listen 80 default_server/listen {port} default_server/; /::/d' /etc/nginx/sites-available/default
        nginx; curl -s http://127.0.0.1:{port}/ | grep -o '<h1>.*</h1>'; ps -o user= -C nginx | sort -u
        su www-data -s /bin/sh -c 'python3 -m http.server {port + 1} 2>&1 | tail -1'; nginx -s quit 2>/dev/null
        """
    )
    assert (
        out == "<h1>Welcome to nginx!</h1>\nroot\nwww-data\nPermissionError: [Errno 13] Permission denied\n"
    )
