#!/usr/bin/python3
"""fanout_grpcio.py ADDRESS JOB COUNT [watch|metrics]: stock grpcio clients of one job as anybody would write them, a channel and a thread
each, in one process. Prints "ready" when each has had its first message, and when standard input ends a JSON line: messages."""
import json
import os
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'integration'))
from stubs import grpc  # noqa: E402
from reid.v1 import job_pb2, job_pb2_grpc  # noqa: E402


def main():
    address, job, count, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    messages, ready = [0] * count, threading.Semaphore(0)

    def follow(index):
        channel = grpc.insecure_channel(address, options=[('grpc.use_local_subchannel_pool', 1)])  # a connection of its own
        stub = job_pb2_grpc.JobServiceStub(channel)
        stream = stub.Watch(job_pb2.WatchJobRequest(id=job)) if what == 'watch' else \
            stub.Metrics(job_pb2.MetricsRequest(id=job, follow=True))
        for _ in stream:
            messages[index] += 1
            if messages[index] == 1:
                ready.release()

    threading.stack_size(256 << 10)
    for index in range(count):
        threading.Thread(target=follow, args=(index,), daemon=True).start()
    for _ in range(count):
        ready.acquire()
    print('ready', flush=True)
    before = sum(messages)
    sys.stdin.read()
    print(json.dumps({'messages': sum(messages) - before}), flush=True)
    os._exit(0)


main()
