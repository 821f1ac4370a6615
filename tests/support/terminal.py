"""A terminal as a program sees one: a pty, and a screen that does what it is told, as far as tokiophp top tells it anything.
What the screen does not know is kept in `unknown`, so that a test can say that there was none of it."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([@-~])")


class Screen:
    def __init__(self, rows, columns):
        self.rows, self.columns, self.unknown, self.alternate, self.cursor_shown = rows, columns, [], False, True
        self.scrolled = 0
        self.clear()

    def clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.reverse = [[False] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0
        self.full = self.reversing = False  # full: the last column is written, the next character begins a line

    def resize(self, rows, columns):
        """As a terminal does: what does not fit is gone."""
        old, self.rows, self.columns = self.cells, rows, columns
        row, column = self.row, self.column
        self.clear()
        for y in range(min(rows, len(old))):
            for x in range(min(columns, len(old[y]))):
                self.cells[y][x] = old[y][x]
        self.row, self.column = min(row, rows - 1), min(column, columns - 1)

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def line_down(self):
        if self.row + 1 < self.rows:
            self.row += 1
        else:
            self.scrolled += 1
            self.cells = self.cells[1:] + [[" "] * self.columns]
            self.reverse = self.reverse[1:] + [[False] * self.columns]

    def put(self, character):
        if self.full:
            self.column, self.full = 0, False
            self.line_down()
        self.cells[self.row][self.column] = character
        self.reverse[self.row][self.column] = self.reversing
        self.full = self.column + 1 == self.columns
        self.column += not self.full

    def erase(self, row, begin):
        for x in range(begin, self.columns):
            self.cells[row][x], self.reverse[row][x] = " ", False

    def obey(self, arguments, letter):
        numbers = [int(n) if n.isdigit() else 0 for n in arguments.lstrip("?").split(";")]
        if letter == "H":
            self.row = min(max(numbers[0], 1), self.rows) - 1
            self.column = min(max(numbers[1] if len(numbers) > 1 else 1, 1), self.columns) - 1
            self.full = False
        elif letter == "K":
            self.erase(self.row, self.column)  # the last column too, if it was just written
        elif letter == "J":
            self.erase(self.row, self.column)
            for row in range(self.row + 1, self.rows):
                self.erase(row, 0)
        elif letter == "m":
            self.reversing = 7 in numbers or (self.reversing and 0 not in numbers)
        elif letter in "hl" and arguments == "?1049":
            self.alternate = letter == "h"
            self.clear()
        elif letter in "hl" and arguments == "?25":
            self.cursor_shown = letter == "h"
        else:
            self.unknown.append(arguments + letter)

    def feed(self, data):
        """What is left of an unfinished sequence."""
        at = 0
        while at < len(data):
            c = data[at:at + 1]
            if c == b"\x1b":
                found = SEQUENCE.match(data, at)
                if not found:
                    if len(data) - at < 16:
                        return data[at:]
                    self.unknown.append(data[at:at + 8])
                    at += 1
                    continue
                self.obey(found.group(1).decode(), found.group(2).decode())
                at = found.end()
                continue
            if c == b"\r":
                self.column, self.full = 0, False
            elif c == b"\n":
                self.line_down()
            elif c >= b" ":
                self.put(c.decode("latin-1"))
            else:
                self.unknown.append(c)
            at += 1
        return b""


class Terminal:
    """A program in a terminal."""

    def __init__(self, command, rows, columns):
        self.screen, self.rest, self.ended = Screen(rows, columns), b"", False
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(command[0], command)

    def resize(self, rows, columns):
        self.read(0)
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def read(self, seconds):
        while not self.ended and select.select([self.fd], [], [], seconds)[0]:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                piece = b""
            self.ended = not piece
            self.rest = self.screen.feed(self.rest + piece)
            seconds = 0

    def until(self, condition, what, seconds=30):
        """Of the screen; its value."""
        end = time.monotonic() + seconds
        while True:
            value = condition(self.screen)
            if value:
                return value
            assert time.monotonic() < end and not self.ended, (what, self.screen.lines())
            self.read(0.2)

    def wait(self, seconds=30):
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            self.read(0.2)
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)
