"""HTTP/2 frames made by hand, for clients that a library would not let be: they never read, or let nothing come."""
import socket
import struct

SETTINGS, HEADERS, DATA, WINDOW_UPDATE = 4, 1, 0, 8
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW = 4  # of SETTINGS
WIDE = 2**31 - 1


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """Of a message: a text or a number."""
    if isinstance(value, str):
        return varint(number << 3 | 2) + varint(len(value.encode())) + value.encode()
    return varint(number << 3) + varint(int(value))


def literal(name, value):
    return b'\0' + b''.join(bytes([len(text)]) + text.encode() for text in (name, value))


def call(path, method, message, window):
    """A connection of its own with one call that has been asked; of the answer come at most `window` bytes over it."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    head = b''.join(literal(*pair) for pair in ((':method', 'POST'), (':scheme', 'http'), (':path', method), (':authority', 'localhost'),
                                                ('content-type', 'application/grpc'), ('te', 'trailers')))
    body = b'\0' + struct.pack('>I', len(message)) + message
    more = frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', WIDE - 65535)) if window > 65535 else b''
    peer.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW, window)) + more +
                 frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, body))
    return peer
