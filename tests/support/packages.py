"""PHP applications from the distribution's source packages, fetched once beside the PHP source."""
import os
import shutil
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def application(package, version, target):
    """Copies the application to the folder `target`, which everybody may write."""
    php = subprocess.run([os.path.join(ROOT, "packaging/php-zts/build"), "--print-source"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout.strip()
    folder = os.path.dirname(php)
    fetched = os.path.join(folder, package, ".fetched")
    if not (os.path.exists(fetched) and open(fetched).read().startswith(version)):
        subprocess.run([os.path.join(ROOT, "packaging/fetch-source"), package, version, folder], check=True, timeout=300)
    shutil.copytree(os.path.join(folder, package), target, symlinks=True, ignore=shutil.ignore_patterns("debian"))
    subprocess.run(["chmod", "-R", "a+rwX", target], check=True)
