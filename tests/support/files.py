"""Files of a test's site."""
import os
import time


def write(path, content, mode=0o644):
    """Makes it, and the folders on the way, of text or bytes; returns the path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)
    return path


def put(folder, name, content):
    return write(os.path.join(folder, name), content)


def put_all(folder, files):
    """files: {name: content}"""
    for name, content in files.items():
        put(folder, name, content)


def grow_old(path, age):
    os.utime(path, (time.time() - age,) * 2)
    return path


def replace(path, content, age=100):
    """There all at once, and so many seconds old: OPcache stores no file that is younger than 2 s."""
    os.rename(grow_old(write(path + ".new", content), age), path)
    return path
