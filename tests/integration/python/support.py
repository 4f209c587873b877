"""Finds the package of this build, and the helpers of the other integration tests."""
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
PACKAGE = BUILD / 'python'
EXAMPLES = ROOT / 'client/python/examples'
sys.path[:0] = [str(PACKAGE), str(HERE.parent)]

try:
    import grpc  # noqa: F401
    import google.protobuf  # noqa: F401
except ImportError as missing:
    print(f'SKIP: {missing}; install it with: apt-get install python3-grpcio python3-protobuf')
    sys.exit(77)
