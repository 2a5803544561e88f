#!/usr/bin/env python3
"""File descriptors for server reflection, as C arrays: gen_descriptors.py PROTOC OUT.c PROTO...

Our .proto files write a map as repeated entries, explicit presence as a oneof with one field, and
google.protobuf.Empty as a message of their own (protoc-c takes no other). Clients shall see what the
contract has: the same wire format under its names. So the descriptors that protoc makes are rewritten.
"""
import os
import subprocess
import sys
import tempfile

FILES = {  # ours → the contract's
    "any.proto": "google/protobuf/any.proto",
    "common.proto": "dapr/proto/common/v1/common.proto",
    "appcallback.proto": "dapr/proto/runtime/v1/appcallback.proto",
    "runtime.proto": "dapr/proto/runtime/v1/messages.proto",
    "service_dapr.proto": "dapr/proto/runtime/v1/dapr.proto",
    "internals.proto": "dapr/proto/internals/v1/messages.proto",
    "service_internals.proto": "dapr/proto/internals/v1/service_invocation.proto",
    "health.proto": "grpc/health/v1/messages.proto",
    "service_health.proto": "grpc/health/v1/health.proto",
    "reflection.proto": "grpc/reflection/v1/messages.proto",
    "service_reflection.proto": "grpc/reflection/v1/reflection.proto",
}
ENTRIES = ("StringEntry", "SecretEntry", "ConfigurationEntry", "MetadataEntry")
OURS, EMPTY = ".dapr.proto.runtime.v1.Empty", ".google.protobuf.Empty"
EMPTY_FILE = "google/protobuf/empty.proto"
REPEATED, STRING = 3, 9

# Numbers in google/protobuf/descriptor.proto.
NAME, PACKAGE, DEPENDENCY, MESSAGE, ENUM, SERVICE, OPTIONS, SYNTAX = 1, 2, 3, 4, 5, 6, 8, 12
M_FIELD, M_NESTED, M_ENUM, M_OPTIONS, M_ONEOF = 2, 3, 4, 7, 8
F_NUMBER, F_LABEL, F_TYPE, F_TYPE_NAME, F_ONEOF, F_JSON, F_OPTIONAL = 3, 4, 5, 6, 9, 10, 17
MAP_ENTRY = 7


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def pack(message):
    """[(number, value)]: whole numbers as varints, the rest as bytes; nested messages are lists."""
    out = b""
    for number, value in message:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
            continue
        data = pack(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
        out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def parse(data):
    out, i = [], 0

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
            out.append((key >> 3, read()))
        elif key & 7 == 2:
            n = read()
            out.append((key >> 3, data[i:i + n]))
            i += n
        else:
            raise SystemExit(f"gen_descriptors: wire type {key & 7} isn't expected in a descriptor")
    return out


def get(message, number, default=b""):
    return next((v for n, v in message if n == number), default)


def text(message, number):
    return get(message, number).decode()


def replace(message, number, value):
    return [(n, value if n == number else v) for n, v in message]


def camel(name):
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Rewriter:
    def __init__(self, files):
        self.messages = {}  # ".package.Name" → its parsed fields
        for f in files:
            self.collect("." + text(f, PACKAGE), [parse(m) for n, m in f if n == MESSAGE])

    def collect(self, scope, messages):
        for m in messages:
            name = f"{scope}.{text(m, NAME)}"
            self.messages[name] = m
            self.collect(name, [parse(v) for n, v in m if n == M_NESTED])

    def entry(self, field, scope):
        """A repeated entry becomes a map: the field, and the nested type that a map has."""
        kind = text(field, F_TYPE_NAME)
        if get(field, F_LABEL, 0) != REPEATED or kind.rsplit(".", 1)[-1] not in ENTRIES:
            return field, None
        name = camel(text(field, NAME)) + "Entry"
        fields = [parse(v) for n, v in self.messages[kind] if n == M_FIELD]
        nested = [(NAME, name)] + [(M_FIELD, pack(self.retype(f))) for f in fields] + [(M_OPTIONS, [(MAP_ENTRY, 1)])]
        return replace(field, F_TYPE_NAME, f"{scope}.{name}"), nested

    @staticmethod
    def retype(field):
        return replace(field, F_TYPE_NAME, EMPTY) if text(field, F_TYPE_NAME) == OURS else field

    def message(self, m, scope):
        full = f"{scope}.{text(m, NAME)}"
        fields = [self.retype(parse(v)) for n, v in m if n == M_FIELD]
        count = {}
        for f in fields:
            if any(n == F_ONEOF for n, _ in f):
                count.setdefault(get(f, F_ONEOF, 0), []).append(text(f, NAME))
        out, nested = [(NAME, text(m, NAME))], []
        for f in fields:
            if any(n == F_ONEOF for n, _ in f) and len(count[get(f, F_ONEOF, 0)]) == 1:
                f = f + [(F_OPTIONAL, 1)]
            if full.endswith(".TopicRoutes") and text(f, NAME) == "default_path":
                f = replace(replace(f, NAME, b"default"), F_JSON, b"default")
            f, map_type = self.entry(f, full)
            out.append((M_FIELD, f))
            nested += [map_type] if map_type else []
        nested += [self.message(parse(v), full) for n, v in m if n == M_NESTED]
        out += [(M_NESTED, n) for n in nested]
        oneofs = [v for n, v in m if n == M_ONEOF]
        out += [(M_ONEOF, [(NAME, "_" + count[i][0])] if len(count[i]) == 1 else v) for i, v in enumerate(oneofs)]
        return out + [(n, v) for n, v in m if n not in (NAME, M_FIELD, M_NESTED, M_ONEOF)]

    def service(self, s):
        out = []
        for n, v in s:
            if n == 2:
                v = [(k, EMPTY if w == OURS.encode() else w) for k, w in parse(v)]
            out.append((n, v))
        return out

    def file(self, f):
        scope = "." + text(f, PACKAGE)
        out = [(NAME, FILES[text(f, NAME)]), (PACKAGE, text(f, PACKAGE))]
        needs = [FILES[v.decode()] for n, v in f if n == DEPENDENCY and v != b"entry.proto"]
        if any(n == SERVICE for n, _ in f):
            needs.append(EMPTY_FILE)
        out += [(DEPENDENCY, d) for d in needs]
        for n, v in f:
            if n == MESSAGE and text(parse(v), NAME) not in ENTRIES:
                out.append((MESSAGE, self.message(parse(v), scope)))
            elif n == SERVICE:
                out.append((SERVICE, self.service(parse(v))))
            elif n in (ENUM, SYNTAX):
                out.append((n, v))
        return out


def rename(data):
    """The same file under the package grpc.reflection.v1alpha."""
    out = []
    for n, v in parse(data):
        if n == NAME or n == DEPENDENCY:
            v = v.replace(b"/v1/", b"/v1alpha/")
        elif n == PACKAGE:
            v = v.replace(b".v1", b".v1alpha")
        elif n == MESSAGE:
            v = retype_message(parse(v))
        elif n == SERVICE:
            v = [(k, [(a, b.replace(b".v1.", b".v1alpha.") if isinstance(b, bytes) else b) for a, b in parse(w)] if k == 2 else w)
                 for k, w in parse(v)]
        out.append((n, v))
    return out


def retype_message(m):
    out = []
    for n, v in m:
        if n == M_FIELD:
            v = [(k, w.replace(b".v1.", b".v1alpha.") if k == F_TYPE_NAME else w) for k, w in parse(v)]
        out.append((n, v))
    return out


def symbols(data):
    f = parse(data)
    package = text(f, PACKAGE)

    def walk(scope, m):
        name = f"{scope}.{text(m, NAME)}"
        yield name
        for n, v in m:
            if n == M_NESTED:
                yield from walk(name, parse(v))
            elif n == M_ENUM:
                yield f"{name}.{text(parse(v), NAME)}"
    for n, v in f:
        if n == MESSAGE:
            yield from walk(package, parse(v))
        elif n == ENUM:
            yield f"{package}.{text(parse(v), NAME)}"
        elif n == SERVICE:
            s = parse(v)
            name = f"{package}.{text(s, NAME)}"
            yield name
            yield from (f"{name}.{text(parse(w), NAME)}" for k, w in s if k == 2)


def descriptors(protoc, protos):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "set")
        subprocess.run([protoc, f"--proto_path={os.path.dirname(protos[0])}", "--include_imports",
                        f"--descriptor_set_out={path}"] + protos, check=True)
        with open(path, "rb") as f:
            files = [parse(v) for _, v in parse(f.read())]
    rewriter = Rewriter(files)
    out = [pack(rewriter.file(f)) for f in files if text(f, NAME) != "entry.proto"]
    out += [pack(rename(f)) for f in list(out) if text(parse(f), PACKAGE) == "grpc.reflection.v1"]
    empty = [(NAME, EMPTY_FILE), (PACKAGE, "google.protobuf"), (MESSAGE, [(NAME, "Empty")]), (SYNTAX, "proto3")]
    return out + [pack(empty)]


def c_array(name, data):
    rows = [", ".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
    return f"static const unsigned char {name}[] = {{\n    " + ",\n    ".join(rows) + "\n};\n"


def main():
    protoc, out, protos = sys.argv[1], sys.argv[2], sys.argv[3:]
    files = descriptors(protoc, protos)
    index = {text(parse(f), NAME): i for i, f in enumerate(files)}
    c = '/* Made by tools/gen_descriptors.py. */\n#include "api/grpc_reflect.h"\n\n'
    for i, f in enumerate(files):
        needs = [index[v.decode()] for n, v in parse(f) if n == DEPENDENCY]
        c += c_array(f"file{i}", f) + f"static const int needs{i}[] = {{ {', '.join(map(str, needs + [-1]))} }};\n"
    c += "\nconst struct reflect_file reflect_files[] = {\n"
    for i, f in enumerate(files):
        c += f'    {{ "{text(parse(f), NAME)}", file{i}, sizeof file{i}, needs{i} }},\n'
    c += f"}};\nconst size_t reflect_n_files = {len(files)};\n\nconst struct reflect_symbol reflect_symbols[] = {{\n"
    names = sorted((s, i) for i, f in enumerate(files) for s in symbols(f))
    c += "".join(f'    {{ "{s}", {i} }},\n' for s, i in names)
    c += f"}};\nconst size_t reflect_n_symbols = {len(names)};\n"
    with open(out, "w") as f:
        f.write(c)


if __name__ == "__main__":
    main()
