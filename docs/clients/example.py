"""Registers a peer with a file, finds it, and looks at an error: the generated Python client against a running node.

    docs/clients/generate python DIRECTORY
    PYTHONPATH=DIRECTORY DIRECTORY/venv/bin/python docs/clients/example.py http://127.0.0.1:8080
"""

import sys

from raftshare_index import Client
from raftshare_index.api.node import cluster, leader
from raftshare_index.api.reads import file, search
from raftshare_index.api.writes import acquire_lease, register
from raftshare_index.models import FileEntry, GrantResponse, LeaseRequest, Problem, RegisterRequest, RegisterResponse

client = Client(base_url=sys.argv[1])

entry = FileEntry(name="docs/report.pdf", hash_="0" * 64, size=1, version=1)
request = RegisterRequest(peer_id="python", address="http://127.0.0.1:9", files=[entry])
registered = register.sync(client=client, body=request, idempotency_key="python:1")
assert isinstance(registered, RegisterResponse) and registered.ok, registered

hits = search.sync(client=client, q="report")
assert [hit.file_name for hit in hits] == ["docs/report.pdf"], hits
assert hits[0].peers[0].id == "python", hits

granted = acquire_lease.sync(client=client, body=LeaseRequest(peer_id="python", file_name="docs/report.pdf"))
assert isinstance(granted, GrantResponse) and granted.granted, granted

missing = file.sync(client=client, name="nothing")
assert isinstance(missing, Problem) and missing.code == "not_found", missing

members = cluster.sync(client=client)
print(f"node {leader.sync(client=client).id} leads {len(members.nodes)} node(s); {hits[0].file_name} is held by {hits[0].peers[0].id}")
