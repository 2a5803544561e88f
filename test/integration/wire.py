"""Protobuf by hand, as much as the tests take: what is tested is the wire format."""


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def parse(data):
    """{number: [values]}"""
    out, i = {}, 0

    def read():
        nonlocal i
        n = shift = 0
        while True:
            b = data[i]
            i += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    while i < len(data):
        key = read()
        if key & 7 == 0:
            value = read()
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
            value = int.from_bytes(data[i:i + size], "little")
            i += size
        else:
            n = read()
            value = data[i:i + n]
            i += n
        out.setdefault(key >> 3, []).append(value)
    return out
