"""MediaWiki, from the distribution's package, on SQLite."""
import os
import re
import subprocess

import packages
from runtime import ask_build

PASSWORD = "a long pass word"  # of the user Admin


def unpack(root, folder, server, more=""):
    """Puts it into the folder root, which must not exist, and installs it for the URL `server`. Its data lies below
    `folder`, or below the folder that the environment variable WIKI names. more: lines of PHP for its configuration."""
    packages.application("mediawiki", root)
    settings, data = root + "/LocalSettings.php", folder + "/data"
    if os.path.lexists(settings):
        os.unlink(settings)
    os.makedirs(data)
    php = ask_build("--print-prefix") + "/bin/php"
    subprocess.run([php, root + "/maintenance/run.php", "install", "--dbtype", "sqlite", "--dbpath", data, "--pass",
                    PASSWORD, "--scriptpath", "", "--server", server, "Test wiki", "Admin"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    with open(settings) as f:
        text, found = re.subn(r"(?m)^\$wgSQLiteDataDir = .*;$", f"$wgSQLiteDataDir = (getenv('WIKI') ?: '{folder}') . '/data';", f.read())
    assert found == 1
    with open(settings, "w") as f:
        f.write(text + f"$wgCacheDirectory = (getenv('WIKI') ?: '{folder}') . '/tmp';\n{more}")
    subprocess.run(["chmod", "-R", "a+rwX", data, settings], check=True)
