"""A script that goes on when the test lets it: each part of an answer is seen before the next one is made, so nothing
has to be measured.

    gate = Gate(workdir)
    text = "<?php " + gate.php + " echo 'first'; flush(); $gate(1); echo 'second';"
    gate.open(1)                          # and now there is a second part
"""
import os


class Gate:
    def __init__(self, workdir):
        self.path = os.path.join(workdir, "tmp/gate")
        self.php = f"$gate = function ($n) {{ for ($i = 0; $i < 5000 && !file_exists('{self.path}' . $n); $i++) usleep(20000); }};"

    def open(self, number):
        with open(f"{self.path}{number}", "w"):
            pass
