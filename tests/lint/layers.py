#!/usr/bin/python3
"""Checks every #include against the layer table of src/README.md, and that a vendor's header stays in its place."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
layer = {}
for row in re.findall(r"^\| (\d) \| (.+?) \|$", (root / "src/README.md").read_text(), re.M):
    for module in row[1].split(","):
        layer[module.strip()] = int(row[0])
programs = {"daemon": {"base", "config", "events", "gpu", "rpc"}, "client": {"base", "config", "events", "gpu", "rpc"}}
# header pattern -> places that may include it
vendor = {
    r"mpi\.h": ["src/comm/mpi.c", "daemon/join/"],
    r"(oneapi/dnnl/|dnnl).*": ["src/backend/cpu/"],
    r"nghttp2/.*": ["src/rpc/"],
    r"yaml\.h": ["src/config/", "daemon/cluster/file.c"],
    r"sqlite3\.h": ["daemon/store/"],
    r"jansson\.h": ["src/base/json.c"],
    r"xxhash\.h": ["src/base/hash.c"],
    r"(jpeglib|jerror)\.h": ["src/data/"],
    r"png\.h": ["src/data/"],
    r"(cuda|cudnn|nccl|cublas).*": ["src/backend/cuda/", "src/comm/nccl/"],
}
faults = []
count = 0
for path in sorted(root.glob("src/**/*.[ch]")) + sorted(root.glob("daemon/**/*.[ch]")) + sorted(root.glob("client/**/*.[ch]")):
    name = path.relative_to(root).as_posix()
    parts = name.split("/")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+[<"]([^">]+)[">]', line)
        if not found:
            continue
        count += 1
        header = found.group(1)
        for pattern, places in vendor.items():
            if re.fullmatch(pattern, header) and not any(name.startswith(p) for p in places):
                faults.append(f"{name}:{number}: {header} may be included only in {', '.join(places)}")
        target = header.split("/")[0]
        if target not in layer or "/" not in header:
            continue
        if parts[0] == "src":
            own = parts[1]
            if own not in layer:
                faults.append(f"{name}: module {own} has no row in src/README.md")
            elif target != own and layer[target] >= layer[own]:
                faults.append(f"{name}:{number}: {own} (layer {layer[own]}) may not include {target} (layer {layer[target]})")
        elif target not in programs[parts[0]]:
            faults.append(f"{name}:{number}: {parts[0]} may not include {target}")
if count < 10:
    faults.append("no includes were found: is the path right?")
print("\n".join(sorted(set(faults))) or f"{count} includes keep to the layers")
sys.exit(1 if faults else 0)
