#!/usr/bin/python3
"""Writes those inputs of corpus/ that are no texts: small images, records and packed rows. Run by hand when one is added."""
import io
import pathlib
import random
import struct
import zlib

from PIL import Image

corpus = pathlib.Path(__file__).parent / 'corpus'


def put(name, data):
    path = corpus / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ---- images ----

def noise(mode, size=(9, 7)):
    rng = random.Random(5)
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, bytes(rng.randrange(256) for _ in range(size[0] * size[1] * channels)))


def exif(orientation, order):
    head = b'II*\0' if order == '<' else b'MM\0*'
    return head + struct.pack(order + 'I', 8) + struct.pack(order + 'HHHIHHI', 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg(name, mode='RGB', **options):
    out = io.BytesIO()
    noise(mode).save(out, 'JPEG', quality=30, **options)
    put(f'image/{name}.jpg', out.getvalue())


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(name, depth, color, row_bytes, width=9, height=7, interlaced=False, extra=b''):
    """Rows of noise; an interlaced file has the rows of its seven passes one after the other."""
    rng = random.Random(6)
    sizes = [(width, height)]
    if interlaced:
        steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in steps]
    rows = b''
    for w, h in sizes:
        for _ in range(h if w > 0 else 0):
            rows += bytes([rng.randrange(5)]) + bytes(rng.randrange(4) for _ in range(row_bytes(w)))
    put(f'image/{name}.png', b'\x89PNG\r\n\x1a\n' +
        chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, int(interlaced))) + extra +
        chunk(b'IDAT', zlib.compress(rows, 9)) + chunk(b'IEND', b''))


jpeg('baseline')
jpeg('gray', 'L')
jpeg('cmyk', 'CMYK')
jpeg('progressive', progressive=True)
jpeg('upright-ii', exif=b'Exif\0\0' + exif(6, '<'))
jpeg('upright-mm', exif=b'Exif\0\0' + exif(3, '>'))
png('rgb', 8, 2, lambda w: 3 * w)
png('rgba', 8, 6, lambda w: 4 * w)
png('gray16', 16, 0, lambda w: 2 * w)
png('gray1', 1, 0, lambda w: (w + 7) // 8)
png('palette', 2, 3, lambda w: (2 * w + 7) // 8, extra=chunk(b'PLTE', bytes(range(12))) + chunk(b'tRNS', b'\0\x80'))
png('interlaced', 8, 2, lambda w: 3 * w, interlaced=True)
png('turned', 8, 2, lambda w: 3 * w, extra=chunk(b'eXIf', exif(8, '>')))
put('image/exif', exif(5, '<'))

# ---- records ----

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(data):
    return struct.pack('<II', len(data), crc32c(data)) + data


put('journal/records', b'r' + record(b'first') + record(b'') + record(b'third'))
put('journal/records-torn', b'r' + record(b'first') + record(b'second')[:-3])
put('journal/records-huge', b'r' + record(b'first') + struct.pack('<II', 0x7FFFFFFF, 0) + b'x')


# ---- rows, as protobuf packs them ----

def varint(value):
    out = b''
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, kind, data):
    return varint(number << 3 | kind) + data


def text(number, data):
    return field(number, 2, varint(len(data)) + data)


def scalar(name, value):
    return text(6, text(1, name) + field(2, 1, struct.pack('<d', value)))


put('attempt/row', field(1, 0, varint(1)) + field(2, 0, varint(7)) + field(3, 0, varint(40)) +
    scalar(b'total_loss', 1.5) + scalar(b'lr', float('nan')))
