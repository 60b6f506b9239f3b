"""A name server for networks of a test's own: knows what it is told, IPv4 only. Standard library only."""

import socket
import struct
import threading


class Names:
    """Answers on port 53 of an address, without one as Docker does in its networks; `known` maps names to addresses and may
    change at any time."""

    def __init__(self, address="127.0.0.11", known=()):
        self.known = dict(known)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            question, client = self.socket.recvfrom(512)
            self.socket.sendto(self._answer(question), client)

    def _answer(self, question):
        name, end = [], 12
        while question[end]:
            name.append(question[end + 1:end + 1 + question[end]].decode())
            end += 1 + question[end]
        asked = question[12:end + 5]
        (kind,) = struct.unpack(">H", question[end + 1:end + 3])
        address = self.known.get(".".join(name).lower())
        # A name that is known and has nothing of another kind is no unknown name.
        answers = 1 if address and kind == 1 else 0
        head = question[:2] + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, answers, 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(address) if answers else b""
        return head + asked + answer
