"""Users with their tokens, and what they do over HTTP: make chats, read the history."""

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from .expecting import PATIENCE_S, Failure

# HS256; the server is started with it.
SECRET = "a secret of the stock clients' tests, and of nothing else"
LIFETIME_S = 3600
# The machine's proxy settings are not for a server on this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Person:
    """A user exists from the first valid token on."""

    id: str
    token: str


def person(user, **claims):
    return Person(user, mint({"userId": user, "exp": int(time.time()) + LIFETIME_S, **claims}))


def mint(claims, secret=SECRET):
    """A JSON Web Token (RFC 7519)."""
    signed = ".".join(base64url(json.dumps(part).encode())
                      for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    code = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(code)}"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_chat(server, owner, *members):
    """A group of these; its id."""
    body = {"type": "group", "name": "Stock", "members": [member.id for member in members]}
    return request(server, owner, "POST", "/api/v1/chats", body)["id"]


def history(server, who, chat):
    """The log, from its first entry to its last."""
    entries = []
    while page := request(server, who, "GET", f"/api/v1/chats/{chat}/messages?limit=100&after="
                          f"{entries[-1]['seq'] if entries else 0}"):
        entries += page
    return entries


def request(server, who, method, target, body=None):
    """The answer's data."""
    asked = urllib.request.Request(
        server.url + target, None if body is None else json.dumps(body).encode(), method=method,
        headers={"Authorization": f"Bearer {who.token}", "Content-Type": "application/json"})
    try:
        with DIRECT.open(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise Failure(f"{method} {target} was answered {error.code}: "
                      f"{error.read()[:500].decode(errors='replace')}") from None
    except OSError as error:
        raise Failure(f"{method} {target} was not answered: {error}") from None
