#!/usr/bin/python3
"""A stock gRPC client, with stubs made from proto/ alone, against the real reidd: submit, list, watch, metrics, cancel, reflection."""
import subprocess

import common
from stubs import grpc

from reid.v1 import control_pb2, control_pb2_grpc, job_pb2, job_pb2_grpc, system_pb2, system_pb2_grpc  # noqa: E402
from grpc.health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc.reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # noqa: E402


class StockClient(common.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = common.Daemon(cls.folder / 'state', '--slots', '2')
        cls.channel = grpc.insecure_channel(f'unix:{cls.daemon.socket}')
        cls.jobs = job_pb2_grpc.JobServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.daemon.stop()
        super().tearDownClass()

    def config(self, out, *more):
        """The resolved configuration, as any client would send it."""
        return subprocess.run([str(common.BIN / 'reidctl'), 'submit', '--dry-run', str(common.CONFIG),
                               *self.overrides(out, *more)], check=True, capture_output=True, text=True).stdout

    def test_submit_watch_and_read_every_scalar(self):
        text = self.config('job', 'SOLVER.MAX_EPOCH', '2', 'TEST.EVAL_PERIOD', '2')
        job = self.jobs.Submit(job_pb2.SubmitRequest(name='stock', ranks=common.RANKS, config_yaml=text))
        self.assertEqual((job.name, job.ranks), ('stock', common.RANKS))
        states = [j.state for j in self.jobs.Watch(job_pb2.WatchJobRequest(id=job.id), timeout=120 * common.PATIENCE)]
        self.assertEqual(states[-1], job_pb2.JOB_STATE_SUCCEEDED)
        self.assertIn(job_pb2.JOB_STATE_RUNNING, states)
        rows = [row for chunk in self.jobs.Metrics(job_pb2.MetricsRequest(id=job.id, follow=True), timeout=30)
                for row in chunk.rows]
        self.assertEqual([r.seq for r in rows], list(range(1, len(rows) + 1)))
        losses = [r.iteration for r in rows if any(s.name == 'total_loss' for s in r.scalars)]
        self.assertEqual(losses, list(range(12)))
        tail = [row.seq for chunk in self.jobs.Metrics(job_pb2.MetricsRequest(id=job.id, attempt=1, seq=5))
                for row in chunk.rows]
        self.assertEqual(tail, list(range(6, len(rows) + 1)))
        logs = b''.join(c.data for c in self.jobs.Logs(job_pb2.LogsRequest(id=job.id, ranks=[0])))
        self.assertIn(b'training set', logs)
        self.assertIn(job.id, [j.id for j in self.jobs.List(job_pb2.ListJobsRequest()).jobs])
        self.assertEqual(self.jobs.Get(job_pb2.GetJobRequest(id='stock')).id, job.id)

    def test_cancel(self):
        job = self.jobs.Submit(job_pb2.SubmitRequest(name='endless', ranks=1, config_yaml=self.config(
            'endless', 'SOLVER.MAX_EPOCH', '5000', 'TEST.EVAL_PERIOD', '0')))
        for now in self.jobs.Watch(job_pb2.WatchJobRequest(id=job.id), timeout=60 * common.PATIENCE):
            if now.progress.iteration > 2:
                self.jobs.Cancel(job_pb2.CancelJobRequest(id=job.id, reason='enough'))
        self.assertEqual(now.state, job_pb2.JOB_STATE_CANCELLED)

    def test_control(self):
        """A flood of words: each is agreed on, in the order of the journal, or refused because too many wait."""
        control = control_pb2_grpc.ControlServiceStub(self.channel)
        job = self.jobs.Submit(job_pb2.SubmitRequest(name='steered', ranks=2, config_yaml=self.config(
            'steered', 'SOLVER.MAX_EPOCH', '5000', 'TEST.EVAL_PERIOD', '0')))
        asked = [control.Set.future(control_pb2.SetRequest(
            id=job.id, settings=[control_pb2.Setting(name='weight_decay', value=f'0.00{i}')]),
            timeout=60 * common.PATIENCE) for i in range(100, 200)]
        agreed = [a.result() for a in asked if a.exception() is None]
        refused = [a.code() for a in asked if a.exception() is not None]
        self.assertGreaterEqual(len(agreed), 64)
        self.assertLessEqual(set(refused), {grpc.StatusCode.RESOURCE_EXHAUSTED})
        audit = control.Audit(control_pb2.AuditRequest(id=job.id))
        self.assertTrue(audit.sound, audit.fault)
        self.assertEqual([e.seq for e in audit.entries], list(range(1, len(agreed) + 1)))
        self.assertEqual({e.hash for e in audit.entries}, {e.hash for a in agreed for e in a.entries})
        for before, after in zip(audit.entries, audit.entries[1:]):
            self.assertEqual(after.old, before.new)
            self.assertGreaterEqual(after.iteration, before.iteration)
        paused = control.Pause(control_pb2.ControlRequest(id=job.id, reason='lunch'), timeout=60 * common.PATIENCE)
        for now in self.jobs.Watch(job_pb2.WatchJobRequest(id=job.id), timeout=60 * common.PATIENCE):
            if now.state == job_pb2.JOB_STATE_PAUSED:
                break
        self.assertEqual(now.progress.iteration, paused.iteration)
        self.assertEqual(control.Resume(control_pb2.ResumeRequest(id=job.id)).id, job.id)
        for now in self.jobs.Watch(job_pb2.WatchJobRequest(id=job.id), timeout=60 * common.PATIENCE):
            if now.state == job_pb2.JOB_STATE_RUNNING and now.progress.iteration > paused.iteration:
                break
        control.Stop(control_pb2.ControlRequest(id=job.id), timeout=60 * common.PATIENCE)
        *_, last = self.jobs.Watch(job_pb2.WatchJobRequest(id=job.id), timeout=60 * common.PATIENCE)
        self.assertEqual((last.state, last.exit_code), (job_pb2.JOB_STATE_SUCCEEDED, 0))

    def assertRefused(self, code, word, request):
        with self.assertRaises(grpc.RpcError) as caught:
            self.jobs.Submit(request, timeout=30)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(word, caught.exception.details())

    def test_bad_requests_get_a_status_and_a_sentence(self):
        self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, 'SOLVER.LRR',
                           job_pb2.SubmitRequest(ranks=1, config_yaml='SOLVER:\n  LRR: 1\n'))
        self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, 'slots',
                           job_pb2.SubmitRequest(ranks=64, config_yaml=self.config('x', 'SOLVER.IMS_PER_BATCH', '256')))
        self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, '', job_pb2.SubmitRequest(ranks=-1, config_yaml=''))
        for call in (lambda: self.jobs.Get(job_pb2.GetJobRequest(id='nobody')),
                     lambda: self.jobs.Cancel(job_pb2.CancelJobRequest(id='nobody')),
                     lambda: list(self.jobs.Watch(job_pb2.WatchJobRequest(id='nobody')))):
            with self.assertRaises(grpc.RpcError) as caught:
                call()
            self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertEqual(self.jobs.List(job_pb2.ListJobsRequest(limit=1), timeout=5).jobs.__len__() <= 1, True)

    def test_health_info_and_reflection(self):
        health = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service='reid.v1.JobService'))
        self.assertEqual(health.status, health_pb2.HealthCheckResponse.SERVING)
        info = system_pb2_grpc.SystemServiceStub(self.channel).Info(system_pb2.InfoRequest())
        self.assertEqual((info.slots, info.pid), (2, self.daemon.process.pid))
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        ask = [reflection_pb2.ServerReflectionRequest(list_services=''),
               reflection_pb2.ServerReflectionRequest(file_containing_symbol='reid.v1.JobService')]
        listed, described = stub.ServerReflectionInfo(iter(ask), timeout=10)
        names = {s.name for s in listed.list_services_response.service}
        self.assertLessEqual({'reid.v1.JobService', 'reid.v1.ControlService', 'reid.v1.SystemService',
                              'grpc.health.v1.Health', 'grpc.reflection.v1alpha.ServerReflection'}, names)
        self.assertTrue(any(b'SubmitRequest' in f for f in described.file_descriptor_response.file_descriptor_proto))


if __name__ == '__main__':
    common.main()
