"""The folder of one test: short-named, readable by the pool's user, with a copy of tests/e2e/www in it."""
import os
import shutil
import tempfile

WWW = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e/www")


def make_workdir():
    folder = tempfile.mkdtemp(prefix="tk", dir="/tmp")
    os.chmod(folder, 0o755)
    os.mkdir(os.path.join(folder, "tmp"))
    os.chmod(os.path.join(folder, "tmp"), 0o1777)
    if os.path.isdir(WWW):
        shutil.copytree(WWW, os.path.join(folder, "www"))
        os.chmod(os.path.join(folder, "www"), 0o755)
    return folder


def remove_workdir(folder):
    if not os.environ.get("KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
