#!/usr/bin/python3
"""reidctl as its users run it: certificates."""
import json
import os
import pathlib
import socket
import stat
import time

from playing import Case, main


class Authority(Case):
    def issue(self, *words, code=0):
        return self.ctl('ca', 'issue', 'ca', *words, code=code)

    def setUp(self):
        super().setUp()
        self.assertEqual(self.ctl('ca', 'init', 'ca').stdout, 'ca\n')

    def show(self, path, code=0):
        rows = json.loads(self.ctl('ca', 'show', path, '-o', 'json', code=code).stdout)
        return {row['file'].removeprefix('ca/'): row for row in rows}

    def test_folders(self):
        self.assertEqual(self.issue('node1', '--hosts', '10.77.0.1,gpu1', '--hosts', 'fd00::1').stdout, 'ca/node1\n')
        self.assertEqual(self.issue('ada', '--role', 'operator', '--days', 5, '--out', 'mine').stdout, 'mine\n')
        for folder in ('ca/node1', 'mine'):
            self.assertEqual(sorted(os.listdir(f'{self.folder}/{folder}')), ['ca.pem', 'cert.pem', 'key.pem'])
        for path, mode in (('ca', 0o700), ('ca/ca-key.pem', 0o600), ('ca/node1/key.pem', 0o600), ('mine', 0o700)):
            self.assertEqual(stat.S_IMODE(os.stat(f'{self.folder}/{path}').st_mode), mode, path)
        rows = self.show('ca')
        self.assertEqual(list(rows), ['ca.pem', 'node1/cert.pem'])
        node = rows['node1/cert.pem']
        self.assertEqual((node['name'], node['role'], node['state'], node['hosts']),
                         ('node1', 'node', 'valid', 'node1, 10.77.0.1, gpu1, fd00::1'))
        user = self.show('mine')['mine/cert.pem']
        self.assertEqual((user['name'], user['role'], user['hosts'], user['issuer']), ('ada', 'operator', '', 'reidd-authority'))
        self.assertAlmostEqual(user['until_s'], time.time() + 5 * 86400, delta=600)
        self.assertIn('operator', self.ctl('ca', 'show', 'mine/cert.pem').stdout)

    def test_nothing_is_overwritten(self):
        self.issue('node1')
        key = pathlib.Path(self.folder, 'ca/node1/key.pem')
        before = key.read_text()
        self.assertIn("'ca/node1/cert.pem' is there already", self.issue('node1', code=5).stderr)
        self.assertIn("'ca/ca.pem' is there already", self.ctl('ca', 'init', 'ca', code=5).stderr)
        self.assertEqual(key.read_text(), before)

    def test_mistakes(self):
        for words, sentence in ((('node1', '--host', '10.77.0.1'), 'what a node is reached at is --hosts of ca issue'),
                                (('node1', '-H', '10.77.0.1'), 'what a node is reached at is --hosts of ca issue'),
                                (('node1', '--hosts', 'a b'), "'a b' is neither a host name nor a numeric address"),
                                (('ada', '--role', 'boss'), "'boss' is no role"),
                                (('ada', '--role', 'admin', '--hosts', 'a'), "only a node's certificate has hosts"),
                                (('../node1',), "'../node1' cannot be the name in a certificate"),
                                (('node1', '--days', '99999'), 'a certificate can be valid for 1 to 36500 days')):
            self.assertIn(sentence, self.issue(*words, code=2).stderr)
        self.assertEqual(sorted(os.listdir(f'{self.folder}/ca')), ['ca-key.pem', 'ca.pem'])
        os.mkdir(f'{self.folder}/empty')
        self.assertIn("there is no certificate in 'empty'", self.ctl('ca', 'show', 'empty', code=4).stderr)
        self.assertIn('needs a verb', self.ctl('ca', code=2).stderr)

    def test_revoke(self):
        self.issue('ada', '--role', 'viewer')
        self.assertIn('1 newly revoked', self.ctl('ca', 'revoke', 'ca', 'ada').stderr)
        self.assertIn('0 newly revoked', self.ctl('ca', 'revoke', 'ca', 'ada').stderr)
        self.assertEqual({row['state'] for row in self.show('ca', code=1).values() if row['name'] == 'ada'}, {'revoked'})
        self.assertIn("'eve'", self.ctl('ca', 'revoke', 'ca', 'eve', code=4).stderr)
        self.assertTrue(os.path.exists(f'{self.folder}/ca/crl.pem'))

    def test_addresses(self):
        self.assertIn('name its folder by --tls-dir or $REIDD_TLS_DIR',
                      self.ctl('-H', 'tcp://127.0.0.1:9', 'ps', code=2).stderr)
        self.issue('node1')
        self.assertIn("cannot use address 'tcp://a:b'",
                      self.ctl('-H', 'tcp://a:b', '--tls-dir', 'ca/node1', 'ps', code=2).stderr)
        with socket.socket() as bound:  # and nobody listens
            bound.bind(('127.0.0.1', 0))
            words = ('-H', f'tcp://127.0.0.1:{bound.getsockname()[1]}', '--tls-dir', 'ca/node1', 'ps')
            self.assertIn('Connection refused; is it running?', self.ctl(*words, code=3).stderr)
            os.chmod(f'{self.folder}/ca/node1/key.pem', 0o644)
            self.assertIn('change that with chmod 600', self.ctl(*words, code=5).stderr)


if __name__ == '__main__':
    main()
