"""Descriptors, disks and threads run out: a clear error for what needed them, and full recovery."""
import ctypes
import os
import resource
import socket
import time

import process
import pytest
from faulty import many, tell


def test_1000_clients_and_256_descriptors(faulty, front):
    server = faulty(fronts=(front,), pool="rlimit_files = 256\n")
    clients, opened = [], 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    address = ("127.0.0.1", server.http_port) if front == "http" else server.server.address
    try:
        for _ in range(1000):
            s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            s.setblocking(False)
            try:
                s.connect(address)
            except BlockingIOError:
                pass
            clients.append(s)
        opened = len(clients)
        time.sleep(many(3, 10))
        assert server.server.running()
    finally:
        for s in clients:
            s.close()
    begin = time.monotonic()
    process.wait_for(lambda: answers(server, front), 60, "service after the clients left")
    back = time.monotonic() - begin
    with server.load(front, connections=8) as load:
        time.sleep(1)
    tell(f"{opened} clients, 256 descriptors, {front}: served again after {back:.1f} s; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert server.count("descriptor|connections are open") >= 1
    assert server.count(r"exited on signal|crash:") == 0


def answers(server, front):
    try:
        return server.ask(front, "/hello.php", timeout=3).status == 200
    except OSError:
        return False


def test_scripts_that_leave_no_descriptors(faulty, front):
    server = faulty(fronts=(front,), pool="rlimit_files = 128\npm.max_children = 3\n")
    server.script("hoard.php", "<?php $all = []; while (($f = @fopen('/dev/null', 'r')) && count($all) < 500) { $all[] = $f; } usleep(100000); echo 'any ', count($all);")
    with server.load(front, "/hoard.php?any", connections=3) as load:
        time.sleep(3)
    tell(f"scripts that hoard descriptors, {front}: {load.result['statuses']}; {load.summary()}")
    assert server.server.running()
    process.wait_for(lambda: answers(server, front), 10, "service")
    with server.load(front, connections=4) as after:
        time.sleep(0.5)
    assert after.result["failed"] == 0, after.result["failures"]


def small_disk(folder):
    """A file system of 64 kB, in a mount namespace of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=64k,mode=1777") != 0:
        raise OSError(ctypes.get_errno(), "mount")


@pytest.fixture
def private_mounts():
    """Mounts of this test are seen by it and by what it starts, and are gone at its end."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    if libc.unshare(0x20000) != 0 or libc.mount(b"none", b"/", None, 0x44000, None) != 0:
        why = os.strerror(ctypes.get_errno())
        os.close(before)
        pytest.skip(f"a mount namespace is not permitted here: {why}")
    yield
    libc.setns(before, 0)
    os.close(before)


def test_full_disks(private_mounts, faulty, front, workdir):
    """No space for uploads, sessions and logs: each request that needs some fails for itself."""
    small, logs = f"{workdir}/small", f"{workdir}/logs"
    for folder in (small, logs):
        os.mkdir(folder)
        small_disk(folder)
    server = faulty(fronts=(front,), settings=f"error_log = {logs}/error.log\ncrash_dir = {logs}\n",
                    pool=f"access.log = {logs}/access.log\nphp_admin_value[upload_tmp_dir] = {small}\nphp_admin_value[sys_temp_dir] = {small}\n"
                         f"php_admin_value[session.save_path] = {small}\n")
    server.script("upload.php", "<?php echo $_FILES['f']['error'], ' ', $_FILES['f']['size'];")
    server.script("log.php", "<?php for ($i = 0; $i < 50; $i++) { error_log(str_repeat('x', 500)); } echo 'logged';")
    server.script("session.php", "<?php session_start(); $_SESSION['x'] = str_repeat('y', 5000); session_write_close(); echo 'session';")

    def upload():
        body = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n" + b"u" * 30000 + b"\r\n--b--\r\n"
        return server.ask(front, "/upload.php", method="POST", body=body, headers={"Content-Type": "multipart/form-data; boundary=b"}).text
    assert upload() == "0 30000"
    with server.load(front, connections=4) as load:
        with open(f"{small}/fill", "wb") as f:
            try:
                f.write(b"x" * 65536)
            except OSError:
                pass
        assert upload() == "7 0"  # UPLOAD_ERR_CANT_WRITE
        for _ in range(20):
            assert server.ask(front, "/log.php").text == "logged"
        assert server.ask(front, "/session.php").status == 200
        time.sleep(0.5)
        if front == "http":
            assert server.fault(front, "null").status == 500  # with no place for its report
        time.sleep(0.5)
    tell(f"full disks, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    os.unlink(f"{small}/fill")
    assert upload() == "0 30000"
    for name in os.listdir(logs):
        os.truncate(f"{logs}/{name}", 0)
    assert server.ask(front, "/log.php").text == "logged"
    process.wait_for(lambda: os.path.getsize(f"{logs}/error.log") > 0, 10, "the log's recovery")


def test_no_more_threads(faulty, front):
    """Where no worker thread can be made, those that exist go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1100 << 20, hard))
    try:
        server = faulty(fronts=(), php=("opcache.memory_consumption=64", "opcache.interned_strings_buffer=8"),
                        pool="pm = dynamic\npm.max_children = 64\npm.start_servers = 8\npm.min_spare_servers = 8\npm.max_spare_servers = 40\n")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    server.script("slow.php", "<?php usleep(200000); echo 'any';")
    server.front(front)
    tasks = len(os.listdir(f"/proc/{server.serving_pid()}/task"))
    with server.load(front, "/slow.php?any", connections=32) as load:
        process.wait_for(lambda: server.count("cannot start a worker thread|no memory"), 60, "a thread that cannot be made")
        time.sleep(many(3, 10))
    tell(f"no memory for threads ({tasks} at first), {front}: {server.count('cannot start a worker thread|no memory')} messages; {load.summary()}")
    assert load.result["good"] > 0
    # the limit stays: a request may fail for want of memory, but the server goes on
    process.wait_for(lambda: answers(server, front), 10, "service")
    assert server.server.running()
