"""What the parity scripts share: tensors in files, runs of our tool, comparison."""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch

torch.set_num_threads(2)
DTYPES = {'F32': np.float32, 'I32': np.int32, 'I64': np.int64}
BUILD_DIR = os.environ.get('REID_BUILD_DIR', '')


def program(name):
    path = os.path.join(BUILD_DIR, 'tests', name)
    if not os.path.exists(path):
        sys.exit(f'{path} is not there: set REID_BUILD_DIR to the build folder and build {name}')
    return path


def save_tensors(path, tensors):
    """A safetensors file: length of the header, header in JSON, data without holes."""
    names = {np.dtype(v): k for k, v in DTYPES.items()}
    header, blobs, at = {}, [], 0
    for name, value in tensors.items():
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        blob = value.tobytes()  # in C order
        header[name] = {'dtype': names[value.dtype], 'shape': list(value.shape), 'data_offsets': [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        file.writelines(blobs)


def load_tensors(path):
    with open(path, 'rb') as file:
        size, = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != '__metadata__':
            begin, end = entry['data_offsets']
            value = np.frombuffer(data[begin:end], DTYPES[entry['dtype']]).reshape(entry['shape'])
            tensors[name] = torch.from_numpy(value.copy())
    return tensors


def nested(flat):
    """{'A.B': 1} as {'A': {'B': 1}}."""
    tree = {}
    for key, value in flat.items():
        *path, last = key.split('.')
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def run_tool(command, config, tensors=None, args=()):
    """Runs parity_tool; gives its output tensors, or its standard output for a command without tensors."""
    with tempfile.TemporaryDirectory(prefix='reid-parity-') as folder:
        with open(os.path.join(folder, 'config.yaml'), 'w') as file:
            json.dump(nested(config), file)  # JSON is YAML
        if tensors is not None:
            save_tensors(os.path.join(folder, 'input.safetensors'), tensors)
        line = [program('parity_tool'), command, folder, *map(str, args)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f'{" ".join(line)} gave {done.returncode}: {done.stderr}')
        if tensors is None:
            return done.stdout
        return load_tensors(os.path.join(folder, 'output.safetensors'))


class Comparison:
    """Collects differences relative to the largest magnitude of the expected tensor; a summary line per kind."""

    def __init__(self, title):
        self.title = title
        self.worst = {}
        self.failures = []

    def check(self, kind, name, ours, expected, tolerance):
        ours = torch.as_tensor(ours).double()
        expected = torch.as_tensor(expected).detach().double()
        if ours.shape != expected.shape:
            self.failures.append(f'{kind} {name}: shape {tuple(ours.shape)}, expected {tuple(expected.shape)}')
            return
        scale = expected.abs().max().item()
        error = (ours - expected).abs().max().item() / (scale or 1.0)
        if not error <= tolerance:  # a NaN fails
            self.failures.append(f'{kind} {name}: {error:.2e} > {tolerance:.0e} of {scale:.3g}')
        if kind not in self.worst or not error <= self.worst[kind][0]:
            self.worst[kind] = (error, name, tolerance)

    def report(self):
        """Prints the worst of each kind and the failures; true when there are none."""
        for kind, (error, name, tolerance) in self.worst.items():
            print(f'{self.title}: {kind}: at most {error:.1e} (allowed {tolerance:.0e}) at {name}')
        for failure in self.failures[:20]:
            print(f'{self.title}: FAILED {failure}')
        if len(self.failures) > 20:
            print(f'{self.title}: FAILED and {len(self.failures) - 20} more')
        return not self.failures


def finish(comparisons):
    results = [c.report() for c in comparisons]
    sys.exit(0 if results and all(results) else 1)
