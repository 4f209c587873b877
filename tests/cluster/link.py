#!/usr/bin/python3
"""A cable with a delay, jitter, loss and rate, where the kernel has no netem: a pair of TAP devices, one in each of two network
namespaces, and this program between them.

    link.py SPACE1 DEVICE1 SPACE2 DEVICE2 FILE       prints "up" when both are there; ends when it is killed

FILE: "DELAY_MS JITTER_MS LOSS RATE_MBIT", each way; LOSS from 0 to 1, RATE 0: none. It is read again when it has changed.
"""
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0002, 0x1000, 0x40000000
MOST = 1000  # frames that wait: what a switch would drop


def open_tap(space, device):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f'/run/netns/{space}') as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f'setns {space}')
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', device.encode(), IFF_TAP | IFF_NO_PI))
    return fd


class Way:
    """Frames on their way to `fd`, by the time at which they come."""
    def __init__(self, fd):
        self.fd, self.frames, self.busy_until = fd, [], 0.0


def main():
    one, two = open_tap(*sys.argv[1:3]), open_tap(*sys.argv[3:5])
    ways = {one: Way(two), two: Way(one)}
    number, dice, seen, looked = itertools.count(), random.Random(7), None, 0.0
    delay = jitter = loss = rate = 0.0
    print('up', flush=True)
    while True:
        now = time.monotonic()
        if now >= looked:
            looked = now + 0.2
            changed = os.stat(sys.argv[5]).st_mtime_ns
            if changed != seen:
                seen = changed
                with open(sys.argv[5]) as file:
                    delay, jitter, loss, rate = map(float, file.read().split())
        soonest = looked
        for way in ways.values():
            while way.frames and way.frames[0][0] <= now:
                try:
                    os.write(way.fd, heapq.heappop(way.frames)[2])
                except OSError:
                    pass  # the other end is down
            if way.frames:
                soonest = min(soonest, way.frames[0][0])
        for fd in select.select(list(ways), [], [], max(0.0, soonest - time.monotonic()))[0]:
            way, now = ways[fd], time.monotonic()
            try:
                frame = os.read(fd, 65536)
            except OSError:
                time.sleep(0.01)
                continue
            if dice.random() < loss or len(way.frames) >= MOST:
                continue
            way.busy_until = max(way.busy_until, now) + (len(frame) * 8e-6 / rate if rate else 0.0)
            heapq.heappush(way.frames, (way.busy_until + (delay + dice.uniform(0, jitter)) / 1000, next(number), frame))


if __name__ == '__main__':
    main()
