"""What a request costs with more workers and as many connections: instructions, and how many of them lock the bus for
others (an atomic change of memory); counted by valgrind, which runs one thread at a time, so that nobody waits for
nobody. How often threads do wait for each other is what topic counts says.

An instruction locks if the disassembler says `lock`, or if it exchanges a register with memory."""
import collections
import re
import shutil
import subprocess
import threading

import instructions
from peers import OWN

WORKERS = (1, 2, 4, 8)
WARM, COUNT = 40, 400
OPTIONS = "--dump-instr=yes --compress-pos=no --compress-strings=no"


def locking(path):
    """Addresses of the instructions of a program or library that lock."""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {int(address, 16) for address in re.findall(r"^ *([0-9a-f]+):\t(?:lock |xchg .*\()", listing.stdout, re.M)}


def executed(text):
    """(object, function) -> address -> how often. A call's own line says what the callee has taken: that is counted there."""
    seen, place, function, skip = collections.defaultdict(collections.Counter), "", "", False
    for line in text.splitlines():
        if line.startswith("ob="):
            place = line[3:]
        elif line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            skip = True
        elif line.startswith("0x"):
            if not skip:
                address, _, count = line.split()[:3]
                seen[place, function][int(address, 16)] += int(count)
            skip = False
    return seen


class Counted(instructions.Counted):
    def __init__(self, bench, name, program, workers):
        super().__init__(bench, name, program, workers, OPTIONS)
        self.workers = workers

    def ask_all(self, script, variables, count):
        """From as many connections as there are workers, all at once."""
        threads = [threading.Thread(target=self.ask, args=(script, variables, count // self.workers)) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def counts(self, script, variables):
        """Instructions a request, and those that lock, by function."""
        self.ask_all(script, variables, WARM * self.workers)
        total, locks = 0, collections.Counter()
        for text in self.dumps(lambda: self.ask_all(script, variables, COUNT)):
            for (place, function), counts in executed(text).items():
                total += sum(counts.values())
                if place not in LOCKING:
                    LOCKING[place] = locking(place)
                for address in LOCKING[place] & counts.keys():
                    locks[function] += counts[address]
        return total / COUNT, {function: n / COUNT for function, n in locks.items()}


LOCKING = {}  # object -> addresses


def scaling(bench):
    missing = [tool for tool in ("valgrind", "objdump") if not shutil.which(tool)]
    if missing:
        bench.without("instructions", f"{missing[0]} is not installed")
        return
    root = bench.root
    for workers in WORKERS:
        pool = Counted(bench, "tokiophp", OWN, workers)
        try:
            total, locks = pool.counts(*instructions.asked(root, "/hello.php"))
        finally:
            pool.stop()
        print(f"  hello, {workers} workers   {total:9.0f} instructions a request   {sum(locks.values()):6.1f} of them lock: " +
              ", ".join(f"{function} {n:.1f}" for function, n in sorted(locks.items(), key=lambda item: -item[1])[:6]), flush=True)
        bench.record.add(f"hello, {workers} workers", "tokiophp", instructions=total, locks=sum(locks.values()))
