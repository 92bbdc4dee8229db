"""How a secret may be spelled where it should not be."""

from __future__ import annotations

import base64
from urllib.parse import quote


def spellings(value: str) -> set[bytes]:
    """As it is, quoted, in hexadecimal, in base64."""
    raw = value.encode()
    encoded = {base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    return {raw, quote(value, safe="").encode(), raw.hex().encode(), *encoded}
