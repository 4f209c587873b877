"""A small terminal: a pseudo-terminal for a program, and what a screen would show of its output."""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata

SEQUENCE = re.compile(r'\x1b\[(\??)([0-9;]*)([A-Za-z])')


class Screen:
    """Lines of cells with a cursor; knows the few sequences that reidctl may use and refuses all others."""

    def __init__(self, columns, lines):
        self.columns, self.height = columns, lines
        self.rows = [[]]  # with what has scrolled away
        self.row = self.column = 0
        self.wrap = True
        self.wrapped = 0  # lines that were broken because they were too long
        self.cut = 0  # characters that did not fit while wrapping was off
        self.colors = 0

    def top(self):
        return max(0, len(self.rows) - self.height)

    def put(self, char):
        width = 2 if unicodedata.east_asian_width(char) in 'WF' else 0 if unicodedata.combining(char) else 1
        if self.column + width > self.columns:
            if not self.wrap:
                self.cut += 1
                return
            self.wrapped += 1
            self.new_line()
        line = self.rows[self.row]
        line.extend(' ' * (self.column + width - len(line)))
        line[self.column:self.column + width] = [char] + [''] * (width - 1) if width else []
        self.column += width

    def new_line(self):
        self.row += 1
        self.column = 0
        if self.row == len(self.rows):
            self.rows.append([])

    def obey(self, private, arguments, letter):
        if private:
            assert arguments == '7' and letter in 'hl', (arguments, letter)
            self.wrap = letter == 'h'
        elif letter == 'A':
            count = int(arguments or 1)
            assert self.row - count >= self.top(), f'moves up {count} lines, over the top of the screen'
            self.row -= count
        elif letter == 'K':
            del self.rows[self.row][self.column:]
        elif letter == 'J':
            del self.rows[self.row][self.column:]
            del self.rows[self.row + 1:]
        elif letter == 'm':
            self.colors += 1
        else:
            raise AssertionError(f'a sequence that is not expected: {arguments}{letter}')

    def feed(self, text):
        at = 0
        while at < len(text):
            char = text[at]
            if char == '\x1b':
                found = SEQUENCE.match(text, at)
                assert found, f'not a known sequence: {text[at:at + 10]!r}'
                self.obey(*found.groups())
                at = found.end()
                continue
            if char == '\r':
                self.column = 0
            elif char == '\n':
                self.new_line()
            else:
                assert char >= ' ' and not '\x7f' <= char <= '\x9f', f'control character {char!r}'
                self.put(char)
            at += 1

    def text(self):
        return '\n'.join(''.join(row).rstrip() for row in self.rows).rstrip('\n')


class Terminal:
    """A program at a pseudo-terminal of its own."""

    def __init__(self, command, columns=80, lines=24, env=None):
        self.master, slave = pty.openpty()
        self.decoder = codecs.getincrementaldecoder('utf-8')()
        self.raw = ''
        self.columns, self.lines = columns, lines
        self.resize(columns, lines)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env,
                                        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
        os.close(slave)

    def resize(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds):
        """What comes within that time; False at the end."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += self.decoder.decode(data)
        return bool(data)

    def screen(self):
        screen = Screen(self.columns, self.lines)
        screen.feed(self.raw)
        return screen

    def wait_text(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text not in self.screen().text():
            assert time.monotonic() < deadline and self.read(0.1), f'{text!r} is not in\n{self.screen().text()}'

    def finish(self, seconds=60):
        deadline = time.monotonic() + seconds
        while self.read(0.1):
            assert time.monotonic() < deadline, f'it goes on:\n{self.screen().text()}'
        code = self.process.wait(seconds)
        os.close(self.master)
        return code
