"""What a container finds in the networks of Docker, for checks in a network namespace of their own. Standard library only."""

import contextlib
import socket
import struct
import threading
import time

PATIENCE = 60


def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def reachable(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


class Names:
    """The name server of Docker's networks: knows `app` and `mcp`, and says how often it was asked."""

    def __init__(self):
        self.known = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.11", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            question, client = self.socket.recvfrom(512)
            name, end = [], 12
            while question[end]:
                name.append(question[end + 1:end + 1 + question[end]].decode())
                end += 1 + question[end]
            asked = question[12:end + 5]
            address = self.known.get(".".join(name))
            flags = 0x8180 if address else 0x8183
            head = question[:2] + struct.pack(">HHHHH", flags, 1, 1 if address else 0, 0, 0)
            answer = b""
            if address:
                answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(address)
            self.socket.sendto(head + asked + answer, client)
