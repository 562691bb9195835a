"""Ways to damage files, as disks, networks and strangers do. `rng` is a `random.Random`."""

import json
import math
import struct

NASTY = [None, True, -1, 0, 1, 10**9, 2**31, 10**30, 0.5, 1e308, math.nan, math.inf]
NASTY += ["", "x", "\0", "../..", "/etc/passwd", "a" * 10**5, "\ud800", "os:system"]
NASTY += [[], {}, [[]], [0] * 1000, {"name": "ctc"}]
EXTREME = [0, 1, 0x7F, 0x7FFF, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF]


def harmed(data, rng):
    """Flip, change, cut, insert, copy or write extreme numbers, rather near the beginning."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = int(len(data) * rng.random() ** 3)
        end, size = place + rng.randrange(1, 9), rng.choice("BHIQ")
        number = rng.choice(EXTREME) % 256 ** struct.calcsize(size)
        match rng.randrange(6):
            case 0:
                data[place:end] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[place:end])
            case 1:
                data[place:end] = rng.randbytes(end - place)
            case 2:
                del data[place : rng.choice([end, None])]
            case 3:
                data[place:place] = rng.randbytes(rng.choice([1, 4, 100]))
            case 4:
                packed = struct.pack(rng.choice("<>") + size, number)
                data[place : place + len(packed)] = packed
            case 5:
                data[place:place] = data[end : end + rng.randrange(100)]
    return bytes(data)


def changed(value, rng):
    """Replace, drop or swap a part of a JSON value."""
    places, rest = [], [value]
    while rest:
        node = rest.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        rest += [node[key] for key in keys if isinstance(node[key], dict | list)]
    node, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del node[key]
        case 1:
            other, its = rng.choice(places)
            if its in other if isinstance(other, dict) else its < len(other):
                node[key] = json.loads(json.dumps(other[its]))
        case _:
            node[key] = rng.choice(NASTY)
    return value


def harmed_json(text, rng):
    """Change the value that is written, or now and then the bytes."""
    if rng.random() < 0.2:
        return harmed(text, rng) if rng.random() < 0.9 else b"[" * 10**5
    return json.dumps(changed(json.loads(text), rng)).encode()


def harmed_delta(data, rng):
    """Change what a file of safetensors says about itself."""
    if rng.random() < 0.3:
        return harmed(data, rng)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    about = header["__metadata__"]
    about["mtl"] = harmed_json(about["mtl"].encode(), rng).decode("latin-1")
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + data[end:]


def harmed_lines(text, rng):
    lines = text.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = harmed_json(lines[place], rng)
    return b"\n".join(lines)
