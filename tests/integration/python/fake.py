"""A reidd of a few lines: each test says how its methods answer."""
import concurrent.futures
import pathlib
import queue
import threading

import support  # noqa: F401
import grpc
from reidd import _stubs

pb = _stubs.pb
RUNNING = 3
SUCCEEDED = 4


class Fake:
    """`answers` maps 'JobService.Get' to a function(request, context); requests of all calls are kept in `asked`."""

    def __init__(self, folder, tls_dir=None, **answers):
        self.address = f'unix:{pathlib.Path(folder) / "fake.sock"}'
        self.tls_dir = tls_dir
        self.asked = []
        self.answers = {'SystemService.Info': lambda request, context: pb.InfoResponse(version='fake', slots=2),
                        'JobService.Get': lambda request, context: pb.Job(id='j1', state=RUNNING),
                        **{k.replace('__', '.'): v for k, v in answers.items()}}
        self.server = None
        self.start()

    def start(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=[self.handlers()])
        if self.tls_dir:
            ca, key, certificate = ((self.tls_dir / f).read_bytes() for f in ('ca.pem', 'key.pem', 'cert.pem'))
            port = self.server.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials([(key, certificate)], ca, True))
            self.address = f'tcp://127.0.0.1:{port}'
        else:
            assert self.server.add_insecure_port(self.address)
        self.server.start()

    def stop(self):
        """Breaks all streams."""
        self.server.stop(0).wait()

    def handlers(self):
        fake = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                _, service, name = details.method.split('/')
                for method in _stubs._services[service].methods:
                    if method.name == name:
                        return fake.handler(service.rsplit('.', 1)[1], method)
                return None

        return Handler()

    def handler(self, service, method):
        row = _stubs.descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(row)
        key = f'{service}.{method.name}'

        def answer(request, context):
            if not row.client_streaming:
                self.asked.append(request)
            if key not in self.answers:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f'{key} is not in this test')
            return self.answers[key](request, context)

        shape = '_'.join('stream' if s else 'unary' for s in (row.client_streaming, row.server_streaming))
        return getattr(grpc, f'{shape}_rpc_method_handler')(
            answer, request_deserializer=getattr(pb, method.input_type.name).FromString,
            response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())


class Training:
    """The other end of one hook's stream: a test sends with say() and reads verdicts from `heard`. None: half-closed."""

    def __init__(self):
        self.heard = queue.Queue()
        self.to_say = queue.Queue()
        self.registered = None
        self.number = 0
        self.context = None
        self.ready = threading.Event()

    def attach(self, requests, context):
        self.context = context
        context.add_callback(self.end)  # nobody listens any more
        self.registered = next(requests).register
        self.ready.set()

        def listen():
            try:
                for up in requests:
                    self.heard.put(up.verdict)
            except Exception:  # cancelled
                pass
            self.heard.put(None)

        threading.Thread(target=listen, daemon=True).start()
        while True:
            word = self.to_say.get()
            if word is None:
                return
            if callable(word):
                word()
            yield word

    def say(self, **word):
        self.to_say.put(pb.HookDown(**word))

    def attached(self, hook=7, iteration=0):
        self.say(attached=pb.HookAttached(hook=hook, iteration=iteration, job='j1'))

    def event(self, point, iteration=0, lr=0.1, epoch=0, **scalars):
        self.number += 1
        self.say(event=pb.HookEvent(number=self.number, point=_stubs.enum_value('HookPoint', 'HOOK_POINT_', point), epoch=epoch,
                                    iteration=iteration, max_iteration=100, max_epoch=5, lr=lr,
                                    scalars=[pb.Scalar(name=n, value=v) for n, v in scalars.items()]))

    def ask(self, point, iteration=0, **more):
        """An event, and the verdict."""
        self.event(point, iteration, **more)
        verdict = self.heard.get(timeout=10)
        assert verdict.event == self.number, (verdict, self.number)
        return verdict

    def end(self):
        self.to_say.put(None)

    def fail(self, code, sentence):
        def abort():
            self.context.abort(code, sentence)
        self.to_say.put(abort)
