"""Hosts on one machine: each has its own network, host name, processes, /dev/shm and address; the file system is shared.

    with Hosts(3) as hosts:                  # node1, node2, node3 at 10.77.0.1 … .3; skips the test (exit 77) where not permitted
        p = hosts.start('node2', ['reidd', ...])        # a Popen; hosts.kill(p, 9) reaches the program itself
        hosts.run('node1', ['ping', ...])
        hosts.cut('node2')                   # its cable; hosts.heal('node2')
        hosts.part('node2', 'node3')         # these two only; hosts.unpart('node2', 'node3')
        hosts.slow('node2', 50, loss=.01)    # ms each way; only with Hosts(…, slow=True), whose cables link.py is
        hosts.crash('node3')                 # power off; hosts.boot('node3')

Everything is in namespaces with names of their own (reid-cluster-*), gone at the end. By hand: `hosts.py shell [N]`.
"""
import atexit
import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading

INIT = '''
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigtimedwait([signal.SIGCHLD], 0.2)
'''


CALL = '''
import json, os, socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'rsh'))
stream = peer.makefile('rw')
stream.write(json.dumps(sys.argv[1:]) + '\\n')
stream.flush()
sys.exit(int(stream.readline() or 255) & 255)
'''


class Missing(Exception):
    """Something that this machine does not permit or does not have."""


def _call(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f'{" ".join(words)}: {done.stderr.strip()}')
    return done.stdout


def skip(why):
    print(f'SKIP: {why}')
    sys.stdout.flush()
    os._exit(77)


class Hosts:
    def __init__(self, count=3, network='10.77.0', names=None, slow=False):
        self.names = names or [f'node{i + 1}' for i in range(count)]
        self.address = {name: f'{network}.{i + 1}' for i, name in enumerate(self.names)}
        self.tag = f'reid-cluster-{secrets.token_hex(3)}'
        self.switch = f'{self.tag}-s'
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-h-'))
        self.inits, self.outer, self.parted = {}, {}, set()
        self.closed, self.slow_cables, self.links = False, slow, {}

    # ---- up and down ----

    def __enter__(self):
        atexit.register(self.close)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        if os.geteuid() != 0:
            self.close()
            skip('network namespaces need root')
        try:
            _call('ip', 'netns', 'add', self.switch)
            _call('ip', '-n', self.switch, 'link', 'add', 'br0', 'type', 'bridge')
            _call('ip', '-n', self.switch, 'link', 'set', 'br0', 'up')
            for name in self.names:
                self.boot(name)
        except (Missing, OSError) as error:
            self.close()
            skip(f'no network namespaces here: {error}')
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.closed:
            return
        self.closed = True
        for name in list(self.inits):
            self.crash(name)
        subprocess.run(['ip', 'netns', 'del', self.switch], capture_output=True)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def _space(self, name):
        return f'{self.tag}-{name}'

    def boot(self, name):
        space, port = self._space(name), f'p-{name}'[:15]
        _call('ip', 'netns', 'add', space)
        if self.slow_cables:
            self._lay_slow(name, space, port)
        else:
            _call('ip', '-n', self.switch, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
        _call('ip', '-n', self.switch, 'link', 'set', port, 'master', 'br0', 'up')
        _call('ip', '-n', space, 'addr', 'add', f'{self.address[name]}/24', 'dev', 'eth0')
        _call('ip', '-n', space, 'link', 'set', 'lo', 'up')
        _call('ip', '-n', space, 'link', 'set', 'eth0', 'up')
        known = self.folder / 'hosts'
        known.write_text('127.0.0.1 localhost\n' + ''.join(f'{a} {n}\n' for n, a in self.address.items()))
        script = (f'hostname {name} && mount --make-rprivate / && mount --bind {known} /etc/hosts && '
                  'mount -t tmpfs tmpfs /dev/shm && exec /usr/bin/python3 -c "$0"')
        outer = subprocess.Popen(
            ['ip', 'netns', 'exec', space, 'unshare', '--uts', '--mount', '--pid', '--ipc', '--fork', '--kill-child=KILL',
             '--mount-proc', 'bash', '-c', script, INIT],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        if outer.stdout.readline() != 'up\n':
            raise Missing(f'a host cannot be made: {outer.stderr.read().strip()}')
        children = pathlib.Path(f'/proc/{outer.pid}/task/{outer.pid}/children').read_text().split()
        self.outer[name], self.inits[name] = outer, int(children[0])

    def crash(self, name):
        """All its processes are killed, and its network is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.inits.pop(name), signal.SIGKILL)
        outer = self.outer.pop(name)
        outer.wait()
        outer.stdout.close()
        outer.stderr.close()
        if name in self.links:
            link = self.links.pop(name)
            link.kill()
            link.wait()
            link.stdout.close()
            link.stderr.close()
        subprocess.run(['ip', '-n', self.switch, 'link', 'del', f'p-{name}'[:15]], capture_output=True)
        subprocess.run(['ip', 'netns', 'del', self._space(name)], capture_output=True)

    # ---- programs ----

    def inside(self, name, words):
        return ['nsenter', '-t', str(self.inits[name]), '--net', '--uts', '--mount', '--pid', '--ipc', f'--wd={os.getcwd()}',
                '--', *map(str, words)]

    def start(self, name, words, **more):
        return subprocess.Popen(self.inside(name, words), **more)

    def run(self, name, words, timeout=60, **more):
        return subprocess.run(self.inside(name, words), capture_output=True, text=True, timeout=timeout, **more)

    def pids(self, name, text=''):
        """Processes of this host with the text in their command lines: {pid outside: command line}."""
        found, init = {}, self.inits[name]
        space = os.readlink(f'/proc/{init}/ns/pid')
        for entry in pathlib.Path('/proc').iterdir():
            if not entry.name.isdigit() or int(entry.name) == init:
                continue
            with contextlib.suppress(OSError):
                if os.readlink(entry / 'ns/pid') != space:
                    continue
                if (entry / 'stat').read_text().rsplit(')', 1)[1].split()[0] == 'Z':
                    continue
                line = (entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace').strip()
                if line and text in line:  # none: it is about to end
                    found[int(entry.name)] = line
        return found

    def kill(self, process, number=signal.SIGKILL):
        """A signal for the program that `start` has started."""
        children = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        os.kill(int(children[0]) if children else process.pid, number)
        if number == signal.SIGCONT:
            os.kill(process.pid, number)  # nsenter stops with its child

    # ---- what ssh is elsewhere ----

    def remote_shell(self):
        """A program for mpirun's plm_rsh_agent: `PROGRAM HOST WORD ...` runs the words on that host."""
        path, program = self.folder / 'rsh', self.folder / 'rsh.py'
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(16)
        program.write_text(f'#!/usr/bin/python3\n{CALL}')
        program.chmod(0o755)

        def serve(peer):
            with peer, peer.makefile('rw') as stream:
                host, *words = json.loads(stream.readline())
                done = subprocess.run(self.inside(host, ['bash', '-c', ' '.join(words)]), stdin=subprocess.DEVNULL)
                stream.write(f'{done.returncode}\n')

        def accept():
            while True:
                peer = server.accept()[0]
                threading.Thread(target=serve, args=(peer,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return program

    # ---- the network ----

    def cut(self, name):
        _call('ip', '-n', self.switch, 'link', 'set', f'p-{name}'[:15], 'down')

    def heal(self, name):
        _call('ip', '-n', self.switch, 'link', 'set', f'p-{name}'[:15], 'up')

    def part(self, one, other):
        for a, b in ((one, other), (other, one)):
            _call('ip', '-n', self._space(a), 'route', 'add', 'blackhole', f'{self.address[b]}/32')

    def unpart(self, one, other):
        for a, b in ((one, other), (other, one)):
            _call('ip', '-n', self._space(a), 'route', 'del', 'blackhole', f'{self.address[b]}/32')

    def _lay_slow(self, name, space, port):
        if not os.access('/dev/net/tun', os.R_OK | os.W_OK):
            raise Missing('/dev/net/tun cannot be used')
        self.slow(name, 0)
        link = subprocess.Popen(['/usr/bin/python3', str(pathlib.Path(__file__).parent / 'link.py'), space, 'eth0', self.switch, port,
                                 str(self.folder / f'link-{name}')], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.links[name] = link
        if link.stdout.readline() != 'up\n':
            raise Missing(f'a slow cable cannot be made: {link.stderr.read().strip()}')

    def slow(self, name, delay_ms, jitter_ms=0, loss=0, rate_mbit=0):
        """Each way, from now on."""
        new = self.folder / f'link-{name}.new'
        new.write_text(f'{delay_ms} {jitter_ms} {loss} {rate_mbit}\n')
        new.rename(self.folder / f'link-{name}')


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with Hosts(count) as hosts:
        print('hosts:', ' '.join(f'{n}={a}' for n, a in hosts.address.items()))
        print('enter one: nsenter -a -t PID bash, with PID of', hosts.inits)
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            input('Enter ends them. ')


if __name__ == '__main__':
    if sys.argv[1:2] != ['shell']:
        sys.exit(__doc__)
    main()
