"""A stock gRPC client's view: stubs made from proto/ alone by grpcio's own generator. Import this before reid.v1."""
import pathlib
import sys
import tempfile

import common

try:
    import grpc
    from grpc_tools import protoc
except ImportError as missing:
    print(f'SKIP: {missing}; install it with: apt-get install python3-grpcio python3-grpc-tools')
    sys.exit(77)

PROTO = common.ROOT / 'proto'
FOLDER = tempfile.TemporaryDirectory(prefix='reid-stubs-')
FILES = [str(p.relative_to(PROTO)) for p in PROTO.rglob('*.proto')]
assert protoc.main(['protoc', f'-I{PROTO}', f'--python_out={FOLDER.name}', f'--grpc_python_out={FOLDER.name}', *FILES]) == 0
sys.path.insert(0, FOLDER.name)
# The stubs' folder grpc/ must not hide the library of that name.
grpc.__path__.append(str(pathlib.Path(FOLDER.name) / 'grpc'))
