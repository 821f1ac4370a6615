"""What packaging/php-zts/build has made of the PHP that the program under test has in it, whatever else there is."""
import os
import re
import subprocess

import tokiophp


def release(program):
    """ "8.4" of a php-fpm, or of ours, which says it with -v as well. None: it has no PHP."""
    words = subprocess.run([program, "-v"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found = re.search(r"^PHP (\d+\.\d+)", words, re.M)
    return found.group(1) if found else None


def ask_build(*what):
    """What the script says to --print-prefix, --print-prefix --nts or --print-source: where it is or would be."""
    branch = release(tokiophp.PROGRAM)
    command = [os.path.join(tokiophp.ROOT, "packaging/php-zts/build"), *(["--branch", branch] if branch else []), *what]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
