#!/usr/bin/python3
"""A stock gRPC client (Debian's python3-grpcio) against our server: every kind of call, errors, deadlines, cancellation, flow
control, compression, health, reflection, shutdown; all of it over a Unix socket and over mutual TLS. Then peers that TLS must
refuse, and our client against a stock server. The stubs are made from our .proto files by grpc_tools."""
import concurrent.futures
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import grpc
    import grpc_tools.protoc
    from google.protobuf import descriptor_pb2
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
WORK = tempfile.TemporaryDirectory(prefix='reid-grpcio-')


def make_stubs():
    out = pathlib.Path(WORK.name, 'stubs')
    out.mkdir()
    folders = [ROOT / 'proto', ROOT / 'tests/unit/rpc']
    for folder in folders:
        protos = [str(p.relative_to(folder)) for p in folder.rglob('*.proto')]
        # grpc/ would hide the grpc module: those stubs are made from a copy with another folder name, same packages.
        if folder.name == 'proto':
            copy = pathlib.Path(WORK.name, 'proto')
            for p in protos:
                target = copy / re.sub('^grpc/', 'g_', p).replace('/v1/health', '/health')
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text((folder / p).read_text())
            folder, protos = copy, [str(p.relative_to(copy)) for p in copy.rglob('*.proto')]
        arguments = ['protoc', f'-I{folder}', f'--python_out={out}', f'--grpc_python_out={out}', *protos]
        if grpc_tools.protoc.main(arguments) != 0:
            sys.exit('the stubs cannot be made')
    sys.path.insert(0, str(out))


make_stubs()
import echo_pb2  # noqa: E402
import echo_pb2_grpc  # noqa: E402
from g_health import health_pb2, health_pb2_grpc  # noqa: E402
from g_reflection.v1 import reflection_pb2 as v1_pb2, reflection_pb2_grpc as v1_grpc  # noqa: E402
from g_reflection.v1alpha import reflection_pb2 as alpha_pb2, reflection_pb2_grpc as alpha_grpc  # noqa: E402

Code = grpc.StatusCode
INVALID, NOT_FOUND, PRECONDITION = 1, 2, 6  # of reid_status


def reidctl(*words):
    return subprocess.run([BUILD / 'bin/reidctl', *words], capture_output=True, text=True, timeout=60)


def authority(name):
    """The folder of an authority with certificates of a node and two users."""
    folder = pathlib.Path(WORK.name, name)
    if not folder.exists():
        for words in (['init', folder], ['issue', folder, 'node1', '--hosts', '127.0.0.1'],
                      ['issue', folder, 'alice', '--role', 'operator'], ['issue', folder, 'eve', '--role', 'viewer']):
            done = reidctl('ca', *words)
            assert done.returncode == 0, done.stderr
    return folder


def credentials(ca, own):
    read = [pathlib.Path(p).read_bytes() if p else None
            for p in (ca / 'ca.pem', own and own / 'key.pem', own and own / 'cert.pem')]
    return grpc.ssl_channel_credentials(*read)


class Server:
    """One grpcio_server with its socket, or over TLS."""
    count = 0

    def __init__(self, tls=False):
        Server.count += 1
        self.socket = f'{WORK.name}/{Server.count}.sock'
        self.ca = authority('ca') if tls else None
        words = ['tcp://127.0.0.1:0', self.ca / 'node1'] if tls else [self.socket]
        self.process = subprocess.Popen([BUILD / 'tests/grpcio_server', *words], stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        assert ready[0] == 'ready', ready
        self.target = ready[1].removeprefix('tcp://') if tls else f'unix:{self.socket}'

    def channel(self, **options):
        options = list(options.items())
        if self.ca:
            return grpc.secure_channel(self.target, credentials(self.ca, self.ca / 'alice'), options=options)
        return grpc.insecure_channel(self.target, options=options)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The counters at the end, as a dict."""
        out, _ = self.process.communicate(timeout=20)
        words = out.split()
        assert self.process.returncode == 0, self.process.returncode
        return dict(zip(words[::2], map(int, words[1::2])))


class StockClient(unittest.TestCase):
    tls = False
    uid = os.getuid()
    forbidden = f'uid {uid} may not do this'

    def setUp(self):
        self.server = Server(self.tls)
        self.channel = self.server.channel(**{'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1})
        self.echo = echo_pb2_grpc.EchoStub(self.channel)
        self.counters = None

    def tearDown(self):
        self.channel.close()
        if self.server.process.poll() is None and self.counters is None:
            self.server.terminate()
            self.counters = self.server.wait()
            self.assertEqual(self.counters['opened'], self.counters['closed'])

    def assertFails(self, code, details, call):
        with self.assertRaises(grpc.RpcError) as caught:
            list(r) if hasattr(r := call(), '__next__') else r
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        if details is not None:
            self.assertEqual(caught.exception.details(), details)
        return caught.exception

    def test_unary(self):
        answer = self.echo.Say(echo_pb2.Ask(text='grüße', payload=bytes(range(256)), number=-5), timeout=10)
        self.assertEqual((answer.text, answer.payload, answer.number), ('grüße', bytes(range(256)), -5))
        self.assertEqual(answer.uid, self.uid)

    def test_unary_many_threads(self):
        failures = []

        def work(base):
            try:
                for i in range(200):
                    if self.echo.Say(echo_pb2.Ask(number=base + i), timeout=30).number != base + i:
                        failures.append(base + i)
            except grpc.RpcError as e:
                failures.append(e)

        threads = [threading.Thread(target=work, args=(k * 1000,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])

    def test_errors(self):
        sentence = "no job 'ä%20' — look\nagain"
        self.assertFails(Code.NOT_FOUND, sentence, lambda: self.echo.Say(echo_pb2.Ask(failure=NOT_FOUND, text=sentence)))
        self.assertFails(Code.FAILED_PRECONDITION, 'failed precondition',
                         lambda: self.echo.Say(echo_pb2.Ask(failure=PRECONDITION)))
        self.assertFails(Code.PERMISSION_DENIED, self.forbidden, lambda: self.echo.Secret(echo_pb2.Ask()))
        self.assertFails(Code.INTERNAL, 'the handler finished without an answer', lambda: self.echo.Silent(echo_pb2.Ask()))
        unknown = self.channel.unary_unary('/reid.test.Echo/Shout', lambda m: b'', lambda b: b)
        self.assertFails(Code.UNIMPLEMENTED, "there is no method '/reid.test.Echo/Shout' here", lambda: unknown(None))
        garbage = self.channel.unary_unary('/reid.test.Echo/Say', lambda m: b'\xff\xff\xff', lambda b: b)
        self.assertFails(Code.INVALID_ARGUMENT, 'the bytes sent are not a valid reid.test.Ask', lambda: garbage(None))

    def test_large_messages(self):
        payload = os.urandom((4 << 20) - 100)
        self.assertEqual(self.echo.Say(echo_pb2.Ask(payload=payload), timeout=20).payload, payload)
        e = self.assertFails(Code.RESOURCE_EXHAUSTED, None, lambda: self.echo.Say(echo_pb2.Ask(payload=payload + bytes(200))))
        self.assertIn('is longer than the 4194304 bytes allowed', e.details())
        self.assertFails(Code.RESOURCE_EXHAUSTED, 'the answer is longer than the 4194304 bytes that a client accepts',
                         lambda: self.echo.Say(echo_pb2.Ask(size=5 << 20)))
        self.assertFails(Code.RESOURCE_EXHAUSTED, None, lambda: self.echo.Small(echo_pb2.Ask(payload=bytes(200))))

    def test_default_client_accepts_what_the_server_sends(self):
        with self.server.channel() as plain:  # with its own limit of 4 MiB
            payload = os.urandom((4 << 20) - 100)
            self.assertEqual(echo_pb2_grpc.EchoStub(plain).Say(echo_pb2.Ask(payload=payload), timeout=20).payload, payload)

    def test_server_stream(self):
        answers = self.echo.Tell(echo_pb2.Ask(count=3000, size=1000), timeout=30)
        self.assertEqual([a.number for a in answers], list(range(1, 3001)))
        self.assertEqual(list(self.echo.Chat(iter([]), timeout=10)), [])
        seen = []
        call = self.echo.Tell(echo_pb2.Ask(count=5, failure=NOT_FOUND, text='gone'), timeout=30)
        with self.assertRaises(grpc.RpcError) as caught:
            for a in call:
                seen.append(a.number)
        self.assertEqual(seen, [1, 2, 3, 4, 5])
        self.assertEqual((caught.exception.code(), caught.exception.details()), (Code.NOT_FOUND, 'gone'))

    def test_client_stream(self):
        answer = self.echo.Sum((echo_pb2.Ask(number=i, payload=bytes(2000)) for i in range(1, 2001)), timeout=30)
        self.assertEqual((answer.number, answer.sum), (2000, 2000 * 2001 // 2))
        self.assertEqual(self.echo.Sum(iter([]), timeout=10).number, 0)

        def endless():
            yield echo_pb2.Ask(failure=INVALID, text='enough')
            while True:
                time.sleep(0.01)
                yield echo_pb2.Ask()

        self.assertFails(Code.INVALID_ARGUMENT, 'enough', lambda: self.echo.Sum(endless(), timeout=30))

    def test_bidi(self):
        asked = threading.Semaphore(1)

        def questions():
            for i in range(300):
                asked.acquire(timeout=20)
                yield echo_pb2.Ask(text=f'line {i}')

        count = 0
        for answer in self.echo.Chat(questions(), timeout=60):
            self.assertEqual(answer.text, f'line {count}')
            count += 1
            asked.release()
        self.assertEqual(count, 300)

    def test_server_speaks_first(self):
        waiting = threading.Event()

        def nothing():
            waiting.wait(20)
            yield from ()

        call = self.echo.Greet(nothing(), timeout=30)
        self.assertEqual(next(call).text, 'hello')
        waiting.set()
        self.assertEqual(list(call), [])

    def test_deadlines(self):
        start = time.monotonic()
        self.assertFails(Code.DEADLINE_EXCEEDED, None, lambda: self.echo.Never(echo_pb2.Ask(), timeout=0.1))
        self.assertLess(time.monotonic() - start, 5)
        self.assertFails(Code.DEADLINE_EXCEEDED, 'the deadline of 50 ms has passed', lambda: self.echo.Brief(echo_pb2.Ask()))

    def test_cancel(self):
        for _ in range(30):
            call = self.echo.Tell(echo_pb2.Ask(size=3000))
            self.assertEqual(next(call).number, 1)
            call.cancel()
        self.echo.Say(echo_pb2.Ask(), timeout=10)
        self.server.terminate()
        self.counters = self.server.wait()
        self.assertEqual(self.counters['opened'], 30)
        self.assertEqual(self.counters['cancelled'], 30)

    def test_reader_that_rests(self):
        call = self.echo.Tell(echo_pb2.Ask(size=50000))
        self.assertEqual(next(call).number, 1)
        for i in range(300):  # the same connection serves others meanwhile
            self.assertEqual(self.echo.Say(echo_pb2.Ask(number=i), timeout=10).number, i)
        resident = re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{self.server.process.pid}/status').read_text())
        self.assertLess(int(resident.group(1)), 200000)  # kB; far from what an unbounded queue would take, sanitizers included
        for i in range(2, 500):
            self.assertEqual(next(call).number, i)
        call.cancel()

    def test_compression_is_refused(self):
        self.assertFails(Code.UNIMPLEMENTED, None,
                         lambda: self.echo.Say(echo_pb2.Ask(payload=bytes(10000)), compression=grpc.Compression.Gzip))
        self.echo.Say(echo_pb2.Ask(), timeout=10)

    def test_metadata_is_taken(self):
        metadata = [('x-note', 'hello'), ('x-blob-bin', bytes(range(100)))] + [(f'k{i}', 'v' * 50) for i in range(50)]
        self.echo.Say(echo_pb2.Ask(), metadata=metadata, timeout=10)
        call = self.echo.Say.future(echo_pb2.Ask(), metadata=[(f'k{i}', 'v' * 90) for i in range(60)], timeout=10)
        self.assertIsNone(call.exception())
        self.assertEqual(dict(call.initial_metadata()).get('grpc-accept-encoding', 'identity'), 'identity')

    def test_keepalive_pings(self):
        options = {'grpc.keepalive_time_ms': 20, 'grpc.keepalive_permit_without_calls': 1,
                   'grpc.http2.max_pings_without_data': 0, 'grpc.http2.min_time_between_pings_ms': 20}
        with self.server.channel(**options) as channel:
            call = echo_pb2_grpc.EchoStub(channel).Brief(echo_pb2.Ask())
            next(call)
            stub = echo_pb2_grpc.EchoStub(channel)
            for i in range(20):
                self.assertEqual(stub.Say(echo_pb2.Ask(number=i), timeout=10).number, i)

    def test_health(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        self.assertEqual(health.Check(health_pb2.HealthCheckRequest()).status, serving)
        self.assertEqual(health.Check(health_pb2.HealthCheckRequest(service='reid.test.Echo')).status, serving)
        self.assertFails(Code.NOT_FOUND, None, lambda: health.Check(health_pb2.HealthCheckRequest(service='none')))
        for _ in range(20):
            self.check_end()

    def check_end(self):
        """A watcher is told NOT_SERVING when its server ends, even if its own last frame meets the server's end."""
        server = Server(self.tls)
        with server.channel() as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=''), timeout=20)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            server.terminate()
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            self.assertFails(Code.UNAVAILABLE, None, lambda: watch)
            server.wait()

    def test_reflection(self):
        for pb2, stubs in ((v1_pb2, v1_grpc), (alpha_pb2, alpha_grpc)):
            stub = stubs.ServerReflectionStub(self.channel)
            ask = pb2.ServerReflectionRequest
            listed, described, unknown = stub.ServerReflectionInfo(iter([
                ask(list_services=''), ask(file_containing_symbol='reid.v1.JobService'),
                ask(file_containing_symbol='reid.v1.Nothing')]), timeout=20)
            names = [s.name for s in listed.list_services_response.service]
            self.assertEqual(names, ['grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection',
                                     'grpc.reflection.v1alpha.ServerReflection', 'reid.test.Echo'])
            files = [descriptor_pb2.FileDescriptorProto.FromString(b)
                     for b in described.file_descriptor_response.file_descriptor_proto]
            self.assertEqual(files[0].name, 'reid/v1/job.proto')
            methods = {m.name: m.server_streaming for m in files[0].service[0].method}
            self.assertEqual(methods['Submit'], False)
            self.assertEqual(methods['Metrics'], True)
            self.assertEqual(unknown.error_response.error_code, Code.NOT_FOUND.value[0])

    def test_shutdown_with_open_streams(self):
        call = self.echo.Tell(echo_pb2.Ask(size=1000))
        next(call)
        never = self.echo.Never.future(echo_pb2.Ask())
        self.echo.Say(echo_pb2.Ask(), timeout=10)
        start = time.monotonic()
        self.server.terminate()
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in call:
                pass
        self.assertEqual(caught.exception.code(), Code.UNAVAILABLE)
        self.assertEqual(never.code(), Code.UNAVAILABLE)
        self.counters = self.server.wait()
        self.assertEqual(self.counters['opened'], 2)
        self.assertEqual(self.counters['closed'], 2)
        self.assertGreater(time.monotonic() - start, 0.45)  # the grace
        self.assertFalse(os.path.exists(self.server.socket))

    def test_client_killed(self):
        code = ('import sys, grpc, echo_pb2, echo_pb2_grpc\n'
                'files = [open(f, "rb").read() for f in sys.argv[2:]]\n'
                'channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials(*files)) if files else \\\n'
                '    grpc.insecure_channel(sys.argv[1])\n'
                'stub = echo_pb2_grpc.EchoStub(channel)\n'
                'call = stub.Tell(echo_pb2.Ask(size=1000))\n'
                'print(next(call).number, flush=True)\n'
                'sys.stdin.read()\n')
        alice = self.server.ca and self.server.ca / 'alice'
        files = [alice / f for f in ('ca.pem', 'key.pem', 'cert.pem')] if alice else []
        client = subprocess.Popen([sys.executable, '-c', code, self.server.target, *files], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': sys.path[0]})
        self.assertEqual(client.stdout.readline(), '1\n')
        client.kill()
        client.communicate()
        self.echo.Say(echo_pb2.Ask(), timeout=10)
        self.server.terminate()
        self.counters = self.server.wait()
        self.assertEqual((self.counters['closed'], self.counters['cancelled']), (1, 1))


class StockClientOverTls(StockClient):
    tls = True
    uid = 2**32 - 1
    forbidden = 'operator alice may not do this'


class Refused(unittest.TestCase):
    """Peers that get nowhere, and the server that serves the next one."""

    def setUp(self):
        self.server = Server(tls=True)
        self.port = int(self.server.target.rpartition(':')[2])

    def tearDown(self):
        with self.server.channel() as channel:
            self.assertEqual(echo_pb2_grpc.EchoStub(channel).Say(echo_pb2.Ask(number=7), timeout=20).number, 7)
        self.server.terminate()
        self.assertEqual(self.server.wait()['opened'], 0)

    def assertUnavailable(self, channel):
        with channel, self.assertRaises(grpc.RpcError) as caught:
            echo_pb2_grpc.EchoStub(channel).Say(echo_pb2.Ask(), timeout=20)
        self.assertEqual(caught.exception.code(), Code.UNAVAILABLE)

    def test_authority_that_the_server_does_not_know(self):
        ours, theirs = authority('ca'), authority('other')
        self.assertUnavailable(grpc.secure_channel(self.server.target, credentials(ours, theirs / 'alice')))

    def test_authority_that_the_client_does_not_know(self):
        theirs = authority('other')
        self.assertUnavailable(grpc.secure_channel(self.server.target, credentials(theirs, theirs / 'alice')))

    def test_no_certificate(self):
        self.assertUnavailable(grpc.secure_channel(self.server.target, credentials(authority('ca'), None)))

    def test_other_name(self):
        ca = authority('ca')
        self.assertUnavailable(grpc.secure_channel(self.server.target, credentials(ca, ca / 'alice'),
                                                   options=[('grpc.ssl_target_name_override', 'node2')]))

    def test_no_tls(self):
        self.assertUnavailable(grpc.insecure_channel(self.server.target))

    def test_older_tls_and_no_alpn(self):
        ca = authority('ca')
        for version, protocols in ((ssl.TLSVersion.TLSv1_2, ['h2']), (ssl.TLSVersion.TLSv1_3, None),
                                   (ssl.TLSVersion.TLSv1_3, ['http/1.1'])):
            context = ssl.create_default_context(cafile=ca / 'ca.pem')
            context.load_cert_chain(ca / 'alice/cert.pem', ca / 'alice/key.pem')
            context.maximum_version = version
            if protocols:
                context.set_alpn_protocols(protocols)
            with socket.create_connection(('127.0.0.1', self.port), 20) as raw:
                try:
                    with context.wrap_socket(raw, server_hostname='127.0.0.1') as secure:
                        secure.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
                        self.assertEqual(secure.recv(100), b'')
                except OSError:
                    pass  # an alert

    def test_http(self):
        with socket.create_connection(('127.0.0.1', self.port), 20) as raw:
            raw.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
            self.assertNotIn(b'HTTP', raw.recv(100))  # at most an alert


class OurClient(unittest.TestCase):
    """reidctl against a stock server."""

    def setUp(self):
        ca = authority('ca')
        from reid.v1 import system_pb2, system_pb2_grpc

        class System(system_pb2_grpc.SystemServiceServicer):
            def Info(self, request, context):
                return system_pb2.InfoResponse(version='9.8.7', node='far')

        self.grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        system_pb2_grpc.add_SystemServiceServicer_to_server(System(), self.grpc)
        node = ca / 'node1'
        self.port = self.grpc.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials(
            [((node / 'key.pem').read_bytes(), (node / 'cert.pem').read_bytes())],
            root_certificates=(ca / 'ca.pem').read_bytes(), require_client_auth=True))
        self.grpc.start()

    def tearDown(self):
        self.grpc.stop(0).wait()

    def ask(self, tls, host='127.0.0.1'):
        return reidctl('-H', f'tcp://{host}:{self.port}', '--tls-dir', tls, 'version')

    def test_answer(self):
        done = self.ask(authority('ca') / 'alice')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('9.8.7', done.stdout)

    def test_refusals(self):
        done = self.ask(authority('ca') / 'alice', 'localhost')
        self.assertEqual((done.returncode, done.stderr), (5, f'reidctl: cannot connect to reidd at tcp://localhost:{self.port}: '
                                                             "its certificate is not for 'localhost'\n"))
        done = self.ask(authority('other') / 'alice')
        self.assertEqual((done.returncode, done.stderr), (5, f'reidctl: cannot connect to reidd at tcp://127.0.0.1:{self.port}: '
                                                             'its certificate is not of the authority in ca.pem\n'))


if __name__ == '__main__':
    unittest.main(verbosity=2)
