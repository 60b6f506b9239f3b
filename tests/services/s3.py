"""Signed requests to an S3 server, path style, signature version 4. Standard library only."""

import datetime
import hashlib
import hmac
import urllib.error
import urllib.parse
import urllib.request

REGION = "us-east-1"


def request(method, endpoint, path, access_key, secret_key, body=b"", query=""):
    """Status and body of a request for `path` (`bucket` or `bucket/key`, not encoded); `query` is encoded and sorted."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    encoded = "/" + urllib.parse.quote(path, safe="/~")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": urllib.parse.urlsplit(endpoint).netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, encoded, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest])
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret_key).encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}")
    address = endpoint + encoded + (f"?{query}" if query else "")
    asked = urllib.request.Request(address, body if method in ("PUT", "POST") else None, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
