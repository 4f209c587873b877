"""usage: run.py SCRIPT [ARGUMENT…]: runs a parity script; ends with 77 (skipped) when a module that they need is missing."""
import importlib
import runpy
import sys

for module in ('numpy', 'PIL', 'torch'):
    try:
        importlib.import_module(module)
    except ImportError as missing:
        print(f'SKIP: {missing}; install it with: apt-get install python3-numpy python3-pil python3-torch')
        sys.exit(77)

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
