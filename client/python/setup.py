"""Builds the package. What reidd speaks (proto/) becomes reidd/_descriptors.binpb in the build folder; _stubs.py reads it."""
import pathlib
import shutil
import subprocess
import tempfile

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
NAME = "reidd/_descriptors.binpb"


def proto_folder() -> pathlib.Path:
    """In an sdist beside this file, in a checkout at its root."""
    for folder in (HERE / "proto", HERE.parents[1] / "proto"):
        if (folder / "reid/v1/hook.proto").is_file():
            return folder
    raise SystemExit("setup.py: there is no proto/reid/v1; build from a whole checkout of reidd, or from an sdist")


def generate(target: pathlib.Path) -> None:
    folder = proto_folder()
    files = sorted(str(p.relative_to(folder)) for p in folder.glob("reid/v1/*.proto"))
    arguments = [f"-I{folder}", "--include_imports", f"--descriptor_set_out={target}", *files]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        from grpc_tools import protoc
    except ImportError:
        program = shutil.which("protoc")
        if program is None:
            raise SystemExit("setup.py: needs grpcio-tools, or the program protoc (Debian: protobuf-compiler)") from None
        code = subprocess.run([program, *arguments], check=False).returncode
    else:
        code = protoc.main(["protoc", *arguments])
    if code != 0:
        raise SystemExit(f"setup.py: protoc has failed with code {code}")


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        generate(pathlib.Path(self.build_lib) / NAME)

    def get_outputs(self, include_bytecode: bool = True) -> list:
        return [*super().get_outputs(include_bytecode), str(pathlib.Path(self.build_lib) / NAME)]


class Sdist(sdist):
    def make_release_tree(self, base_dir: str, files: list) -> None:
        super().make_release_tree(base_dir, files)
        folder = proto_folder()
        for path in sorted(folder.glob("reid/v1/*.proto")):
            target = pathlib.Path(base_dir, "proto", path.relative_to(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


# A folder of its own, so that nothing stale is packed and the checkout stays as it was.
with tempfile.TemporaryDirectory(prefix="reidd-build-") as scratch:
    setup(cmdclass={"build_py": BuildPy, "sdist": Sdist},
          options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}})
