"""Sends CloudEvents with the CNCF's SDK for Python, in every mode, and prints what was sent and what was answered.

Called with the server's address and a key.
"""

import http.client
import json
import sys
from urllib.parse import urlsplit

from cloudevents.conversion import to_binary, to_json, to_structured
from cloudevents.http import CloudEvent

base, key = sys.argv[1:3]


def post(headers, body):
    headers = {**headers, "Authorization": f"Bearer {key}"}
    # Adds no content type of its own, as most clients do.
    connection = http.client.HTTPConnection(urlsplit(base).netloc)
    connection.request("POST", "/api/v1/events", body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 202:
        sys.exit(f"{headers} {body}: {answer.status} {text}")
    return json.loads(text)


def binary(one):
    # Left to itself, the SDK writes a text as JSON, whatever its content type.
    return to_binary(one, data_marshaller=str.encode if isinstance(one.get_data(), str) else None)


def event(name, data, **more):
    attributes = {
        "id": f"python-{name}",
        "source": "/shop/python?x=1",
        "type": f"com.shop.{name}",
        "time": "2026-01-31T12:00:00.123456Z",
        "subject": "tea 100% \"green\"",
        "dataschema": "https://shop.example/schema",
        "tenantregion": "eu",
        "sequence": "0007",
        **more,
    }
    return CloudEvent(attributes, data)


events = [
    ("json", event("json", {"sku": "tea", "count": 2, "price": 1.5}, datacontenttype="application/json"), {"sku": "tea", "count": 2, "price": 1.5}),
    ("plus_json", event("plus_json", {"a": [1]}, datacontenttype="application/vnd.shop+json"), {"a": [1]}),
    ("text", event("text", "grün", datacontenttype="text/plain"), "grün"),
    ("bytes", event("bytes", b"\x00\xff\x10", datacontenttype="application/octet-stream"), {"data_base64": "AP8Q"}),
    ("empty", event("empty", None), None),
    # No content type: the data is JSON where it can be read as such.
    ("untyped", event("untyped", {"a": 1}), {"a": 1}),
    ("untyped_bytes", event("untyped_bytes", b"\x00\xff"), {"data_base64": "AP8="}),
]

sent = []
for name, one, payload in events:
    for mode, convert in [("binary", binary), ("structured", to_structured)]:
        answer = post(*convert(one))
        sent.append({"mode": mode, "attributes": dict(one.get_attributes()), "payload": payload, "event_id": answer["event_id"]})
batch = b"[" + b",".join(to_json(one) for _, one, _ in events) + b"]"
answer = post({"content-type": "application/cloudevents-batch+json"}, batch)
for (name, one, payload), result in zip(events, answer["results"]):
    sent.append({"mode": "batch", "attributes": dict(one.get_attributes()), "payload": payload, "event_id": result.get("event_id")})
print(json.dumps(sent))
