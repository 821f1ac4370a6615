"""A MariaDB of the test's own: data, socket and log in one folder, no network."""
import os
import shutil
import subprocess

from process import Program


class MariaDB(Program):
    def __init__(self, directory):
        data = os.path.join(directory, "db")
        self.socket = os.path.join(directory, "db.sock")
        user = ["--user=root"] if os.geteuid() == 0 else []
        with open(os.path.join(directory, "db-install.log"), "w") as log:
            subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
                            "--force", "--auth-root-authentication-method=normal", *user], check=True, stdout=log, stderr=log, timeout=100)
        program = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        super().__init__([program, "--no-defaults", f"--datadir={data}", f"--socket={self.socket}", "--skip-networking",
                          "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M",
                          f"--pid-file={directory}/db.pid", *user], directory, "db.log")
        try:
            self.wait_accepting(self.socket, 60)
            os.chmod(self.socket, 0o777)
        except BaseException:
            self.kill_family()
            raise

    def sql(self, statements):
        subprocess.run(["mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot"], input=statements.encode(), check=True,
                       timeout=30)
