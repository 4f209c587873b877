#!/usr/bin/python3
"""Garbage clients against a reidd of its own: random messages to every method, damaged frames, connections that are begun
and left, and a rank that says what no rank says. The daemon must answer honest clients all the while, keep what it has
stored, and neither grow nor lose descriptors.

    garbage.py [--seconds 10] [--seed N] [--cluster]

With --cluster the daemon is the head of two nodes, and the other node is garbage, too."""
import argparse
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

try:
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as missing:
    print(f'SKIP: {missing}; install it with: apt-get install python3-grpcio python3-protobuf')
    sys.exit(77)

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
PATIENCE = float(os.environ.get('REID_TEST_PATIENCE', '4'))
WAIT_S = 30 * PATIENCE
MOST_GROWTH = 800 << 20  # bytes; a leak of a message per call shows in a long run
SLOTS = 2


def load_messages():
    """Every service of reid.v1 with its methods, and classes of their messages."""
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((BUILD / 'proto/gen/descriptors.binpb').read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    methods = []
    for file in files.file:
        for service in file.service:
            name = f'{file.package}.{service.name}'
            for method in pool.FindServiceByName(name).methods:
                methods.append((f'/{name}/{method.name}', factory.GetPrototype(method.input_type)))
    return methods


def some_text(rng, words):
    kind = rng.randrange(8)
    if kind < 4:
        return rng.choice(words)
    if kind == 4:
        return ''
    if kind == 5:
        return ''.join(chr(rng.choice((0, 9, 10, 27, 37, 47, 92, 127, 0xE9, 0x202E, 0x1F600))) for _ in range(rng.randrange(20)))
    if kind == 6:
        return rng.choice('a%/.x') * rng.choice((1, 200, 5000, 70000))
    return rng.choice(words)[:rng.randrange(9)]


INTEGERS = (0, 1, -1, 2, 3, 7, 100, 255, 4096, 2**31 - 1, -2**31, 2**32, 2**53, 2**63 - 1, -2**63)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, float('inf'), float('-inf'), float('nan'))


def some_value(rng, field, words, depth):
    kind = field.cpp_type
    if kind == field.CPPTYPE_MESSAGE:
        return fill(rng, field.message_type._concrete_class(), words, depth + 1)
    if kind == field.CPPTYPE_STRING:
        text = some_text(rng, words)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return rng.choice(FLOATS)
    if kind == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == field.CPPTYPE_ENUM:
        return rng.choice([v.number for v in field.enum_type.values] + [77, -3])
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    value = rng.choice(INTEGERS)
    low, high = (-2**(bits - 1), 2**(bits - 1) - 1) if signed else (0, 2**bits - 1)
    return min(max(value, low), high)


def fill(rng, message, words, depth=0):
    for field in message.DESCRIPTOR.fields:
        if depth > 4 or rng.random() < 0.4:
            continue
        if field.label == field.LABEL_REPEATED:
            for _ in range(rng.choice((0, 1, 1, 2, 5, 40))):
                value = some_value(rng, field, words, depth)
                target = getattr(message, field.name)
                target.add().CopyFrom(value) if field.cpp_type == field.CPPTYPE_MESSAGE else target.append(value)
        elif field.cpp_type == field.CPPTYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(some_value(rng, field, words, depth))
        else:
            setattr(message, field.name, some_value(rng, field, words, depth))
    return message


def damage(rng, data):
    """A few bytes changed, inserted, removed, repeated; or cut off."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(6)))
        elif kind == 2:
            del data[at:at + rng.randrange(12)]
        elif kind == 3:
            data[at:at] = data[at:at + rng.randrange(40)]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


class Target:
    """A reidd with a job that has ended, one that runs and one that waits."""

    def __init__(self, folder, cluster):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / 'r.sock'
        self.head = self.folder / 'n1.sock'
        self.options = []
        if cluster:
            nodes = self.folder / 'nodes.yml'
            nodes.write_text(f'nodes:\n- {{name: node1, address: "unix:{self.head}", head: true}}\n'
                             f'- {{name: node2, address: "unix:{self.folder}/n2.sock"}}\n')
            self.options = ['--cluster', nodes, '--node', 'node1']
        self.process = None
        self.start()
        self.done = self.submit('done', 'link\nphase 2\nprogress 5 5\nrows 5\nlast-row\nexit 0\n')
        self.wait_for(lambda: self.state(self.done) == 'SUCCEEDED', 'the first job ends')
        self.running = self.submit('running', 'link\nphase 2\nrows 3\nlast-row\nmark up\nwait never\n')
        self.wait_for(lambda: (self.folder / 'running/up').exists(), 'the second job runs')
        self.rows = self.ctl('metrics', self.done)
        self.ticket = self.read_ticket()  # once: garbage may end the job

    def wait_for(self, condition, what):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, f'reidd ended with {self.process.returncode}: {self.log()}'
            assert time.monotonic() < deadline, f'{what}: not within {WAIT_S:g} s; {self.log()}'
            time.sleep(0.02)

    def log(self):
        return (self.folder / 'reidd.log').read_text(errors='replace')[-3000:]

    def start(self):
        with open(self.folder / 'reidd.log', 'ab') as log:
            self.process = subprocess.Popen(
                [BUILD / 'bin/reidd', '--state-dir', self.folder / 'state', '--socket', f'unix:{self.socket}', '--trainer',
                 BUILD / 'tests/reidd_fake_trainer', '--slots', str(SLOTS), *self.options], stdout=log, stderr=log)
        self.wait_for(lambda: self.try_ctl('version').returncode == 0, 'reidd answers')

    def try_ctl(self, *words):
        return subprocess.run([BUILD / 'bin/reidctl', '-H', f'unix:{self.socket}', *words], capture_output=True, text=True,
                              errors='replace', timeout=WAIT_S)

    def ctl(self, *words):
        done = self.try_ctl(*words)
        assert done.returncode == 0, f'reidctl {words}: {done.stderr} {self.log()}'
        return done.stdout

    def state(self, job):
        return json.loads(self.ctl('describe', job, '-o', 'json'))['state']

    def submit(self, name, script):
        folder = self.folder / name
        folder.mkdir()
        (folder / 'script').write_text(script)
        config = self.folder / f'{name}.yml'
        config.write_text(f'OUTPUT_DIR: {folder}\n')
        return self.ctl('submit', '--name', name, str(config)).strip()

    def read_ticket(self):
        """Of the attempt that runs, as its rank has it."""
        pid = (self.folder / 'running/up').read_text().strip()
        for entry in pathlib.Path(f'/proc/{pid}/environ').read_bytes().split(b'\0'):
            if entry.startswith(b'REIDD_TICKET='):
                return entry.split(b'=', 1)[1].decode()
        raise AssertionError('the rank has no ticket')

    def bytes_used(self):
        for line in pathlib.Path(f'/proc/{self.process.pid}/status').read_text().splitlines():
            if line.startswith('VmRSS:'):
                return int(line.split()[1]) << 10
        raise AssertionError('no VmRSS')

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def check(self):
        """What an honest client sees."""
        assert self.process.poll() is None, f'reidd ended with {self.process.returncode}: {self.log()}'
        assert self.ctl('metrics', self.done) == self.rows, 'stored rows have changed'

    def leave_nothing(self):
        """After a failure."""
        if self.process.poll() is None:
            for job in self.try_ctl('ps', '-q').stdout.split():
                self.try_ctl('cancel', '--grace', '0.1', job)
            time.sleep(1)
            self.process.kill()
            self.process.wait()

    def end(self):
        """Ends well, and the store is sound: a new daemon knows the first job."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_S)
        assert code == 0, f'reidd ended with {code}: {self.log()}'
        self.start()
        self.check()
        for job in self.ctl('ps', '-q').split():
            self.try_ctl('cancel', '--grace', '0.1', job)
        self.wait_for(lambda: not self.ctl('ps', '-q').split(), 'all jobs are cancelled')
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)


class Garbage:
    def __init__(self, target, rng, cluster):
        self.target = target
        self.rng = rng
        self.methods = load_messages()
        self.words = [target.done, target.running, 'done', 'running', 'loss*', 'lr', 'set', 'after_step', 'ada', '/etc/passwd',
                      '../../..', 'OUTPUT_DIR: /tmp/x\n', 'return {after_step = function(t) end}', 'SOLVER.BASE_LR', 'node1', 'node2', 'logs/rank-0.out',
                      'rank0.spool', 'logs/launcher.log', '../../reidd.db', 'orted', '-mca']
        self.link = f'unix:{target.folder}/link.sock'
        self.node = f'unix:{target.head}' if cluster else None
        self.seeds = [p.read_bytes()[1:] for p in sorted((ROOT / 'tests/fuzz/corpus/rpc').glob('server-*'))]
        self.channels = {}
        self.left = []  # connections that were begun and left
        self.counts = {}

    def channel(self, address):
        if address not in self.channels or self.rng.random() < 0.02:
            if address in self.channels:
                self.channels[address].close()
            self.channels[address] = grpc.insecure_channel(address, options=[('grpc.max_receive_message_length', -1)])
        return self.channels[address]

    def some_message(self, path, kind):
        """Garbage, but the job that has ended, whose rows are compared, is not removed."""
        message = fill(self.rng, kind(), self.words)
        if path == '/reid.v1.JobService/Remove' and (message.id == 'done' or self.target.done.startswith(message.id or '-')):
            message.id = self.target.running
        return message.SerializeToString()[:300000]

    def kind(self, path):
        return next(k for p, k in self.methods if p == path)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def call(self, address, path, messages, limit=8):
        """Sends the messages and takes what comes, a few messages at most."""
        method = self.channel(address).stream_stream(path, request_serializer=None, response_deserializer=None)
        stop = threading.Event()

        def requests():
            yield from messages
            if self.rng.random() < 0.2:
                stop.wait(0.05)

        answer = method(requests(), timeout=self.rng.choice((0.05, 0.3, 1)) * PATIENCE)
        try:
            for _ in range(limit):
                next(answer)
            self.count('OK')
        except StopIteration:
            self.count('OK')
        except grpc.RpcError as error:
            self.count(error.code().name)
            assert error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (path, error.details())
        stop.set()
        answer.cancel()

    def message_call(self):
        path, kind = self.rng.choice(self.methods)
        messages = [self.some_message(path, kind) for _ in range(self.rng.choice((1, 1, 1, 3)))]
        if self.rng.random() < 0.3:
            messages = [damage(self.rng, m) for m in messages]
        self.call(f'unix:{self.target.socket}', path, messages)

    def rank_call(self):
        """A hello with the right ticket (now and then a wrong one), then anything."""
        kind = self.kind('/reid.v1.RankService/Link')
        hello = kind()
        hello.hello.job_id = self.target.running
        hello.hello.attempt = 1
        hello.hello.ticket = self.target.ticket if self.rng.random() < 0.9 else some_text(self.rng, self.words)
        hello.hello.world = 1
        messages = [hello.SerializeToString()]
        for _ in range(self.rng.randrange(6)):
            message = fill(self.rng, kind(), self.words).SerializeToString()
            messages.append(damage(self.rng, message) if self.rng.random() < 0.2 else message)
        self.call(self.link, '/reid.v1.RankService/Link', messages)

    def hello(self, kind, message=None):
        message = message or kind()
        message.hello.name, message.hello.protocol, message.hello.slots = 'node2', 2, self.rng.choice((1, 2, 4))
        message.hello.shim, message.hello.trainer = str(BUILD / 'bin/reidd-shim'), str(BUILD / 'tests/reidd_fake_trainer')
        return message

    def check_member(self):
        """A good hello is welcome."""
        kind = self.kind('/reid.v1.NodeService/Join')
        join = self.channel(self.node).stream_stream('/reid.v1.NodeService/Join', request_serializer=None,
                                                     response_deserializer=None)
        answer = join(iter([self.hello(kind).SerializeToString()]), timeout=WAIT_S)
        assert b'node1' in next(answer)
        answer.cancel()

    def member_call(self):
        """The other node: a hello (now and then a wrong one), then anything; or any other call as a node."""
        if self.rng.random() < 0.2:
            path, kind = self.rng.choice(self.methods)
            self.call(self.node, path, [self.some_message(path, kind)])
            return
        kind = self.kind('/reid.v1.NodeService/Join')
        hello = fill(self.rng, kind(), self.words)
        hello.hello.SetInParent()
        if self.rng.random() < 0.8:
            self.hello(kind, hello)
        messages = [hello.SerializeToString()]
        for _ in range(self.rng.randrange(8)):
            message = fill(self.rng, kind(), self.words).SerializeToString()
            messages.append(damage(self.rng, message) if self.rng.random() < 0.2 else message)
        self.call(self.node, '/reid.v1.NodeService/Join', messages)

    def connect(self, address):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        peer.settimeout(0.2)
        peer.connect(address[len('unix:'):])
        return peer

    def frames(self):
        """Damaged HTTP/2 on a connection of its own; some are left open."""
        places = [f'unix:{self.target.socket}', self.link, self.node]
        peer = self.connect(self.rng.choice(places if self.node else places[:2]))
        self.count('raw')
        try:
            preface = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0'
            data = self.rng.choice(self.seeds)
            data = data if data.startswith(b'PRI') else preface + data
            if self.rng.random() < 0.2:
                kind, flags = self.rng.randrange(12), self.rng.randrange(256)
                size = self.rng.choice((0, 4, 5, 16384, 2**24 - 1))
                data = preface + struct.pack('>I', size)[1:] + bytes([kind, flags]) + struct.pack('>I', self.rng.randrange(2**32)) + \
                    os.urandom(min(size, 100))
            peer.sendall(damage(self.rng, data))
            if self.rng.random() < 0.5:
                peer.recv(65536)
        except OSError:
            pass
        if self.rng.random() < 0.2:
            self.left.append(peer)
        else:
            if self.rng.random() < 0.3:  # cut instead of closed
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            peer.close()
        while len(self.left) > 50:
            self.left.pop(0).close()

    def round(self):
        self.rng.choices((self.message_call, self.rank_call, self.frames, self.member_call), (6, 2, 3, 6 if self.node else 0))[0]()

    def close(self):
        for channel in self.channels.values():
            channel.close()
        for peer in self.left:
            peer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=10)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--cluster', action='store_true')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='reid-') as folder:
        target = Target(folder, options.cluster)
        garbage = Garbage(target, random.Random(options.seed), options.cluster)
        until, rounds = time.monotonic() + options.seconds, 0
        used, fds = target.bytes_used(), target.descriptors()
        try:
            if options.cluster:
                garbage.check_member()
            while time.monotonic() < until:
                garbage.round()
                rounds += 1
                if rounds % 200 == 0:
                    target.check()
        except BaseException:
            target.leave_nothing()
            raise
        finally:
            garbage.close()
        target.check()
        target.wait_for(lambda: target.descriptors() <= fds + 10, 'descriptors are closed')
        growth = target.bytes_used() - used
        print(f'seed {options.seed}: {rounds} rounds, {dict(sorted(garbage.counts.items()))}; memory grew by {growth >> 20} MiB')
        assert growth < MOST_GROWTH, growth
        target.end()


if __name__ == '__main__':
    main()
