"""A client of hcnd in the standard library of Python alone.

A call is a JSON object with a NUL after it, and so is its answer (https://varlink.org). What can be called is in
crates/hcn-ipc/interfaces.

    with Client() as hcn:
        made = hcn.call("io.hcn.Network.Create", settings={"SchemaVersion": {"Major": 2}, "Type": "NAT"})
        print(hcn.call("io.hcn.Network.Query", handle=made["handle"], query={"SchemaVersion": {"Major": 2}}))
        hcn.call("io.hcn.Network.Delete", id=made["id"])
"""

import json
import os
import socket

SOCKET = "/run/hcnd/hcnd.sock"


class HcnError(Exception):
    """What the service refused: `hresult` as in the contract, its `name`, where in the document (`path`) and what would
    have been right there (`expected`)."""

    def __init__(self, error, parameters):
        self.error = error
        self.hresult = parameters.get("hresult")
        self.name = parameters.get("name")
        self.path = parameters.get("path")
        self.expected = parameters.get("expected")
        super().__init__(parameters.get("message") or f"{error} {parameters}")


class Client:
    """A connection, which is a session: handles end with it. Not for several threads at once."""

    def __init__(self, path=None):
        self.path = path or os.environ.get("HCND_SOCKET", SOCKET)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(self.path)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def call(self, method, /, **parameters):
        """The results of a method; HcnError if the service refuses, ConnectionError if it is gone."""
        self._send({"method": method, "parameters": parameters})
        return self._receive()["parameters"]

    def events(self, **parameters):
        """Events on a connection of their own, as they happen; the last one has action `disconnect`."""
        with Client(self.path) as client:
            client._send({"method": "io.hcn.Events.Subscribe", "parameters": parameters, "more": True})
            answer = client._receive()
            yield answer["parameters"]
            while answer.get("continues"):
                answer = client._receive()
                yield answer["parameters"]

    def _send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\0")

    def _receive(self):
        parts = [self.rest]
        while b"\0" not in parts[-1]:
            part = self.socket.recv(1 << 16)
            if not part:
                raise ConnectionResetError("hcnd has closed the connection")
            parts.append(part)
        message, _, self.rest = b"".join(parts).partition(b"\0")
        answer = json.loads(message)
        if "error" in answer:
            raise HcnError(answer["error"], answer.get("parameters", {}))
        return answer
