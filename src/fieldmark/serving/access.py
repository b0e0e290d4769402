"""Stand-in until the guard's own."""

import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    token: str
    hosts: tuple


def new_token():
    return secrets.token_urlsafe(32)
