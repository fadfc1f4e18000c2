"""TLS: what works over plain TCP works over it, a goodbye in the middle loses nothing, and every
refusal ends with its reason, the right exit status and not one byte in plain. The refusals come
from `openssl s_server`, the rest goes through an end of TLS in this process, before the broker."""
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from harness import (BIN, GIVE_UP, BrokerTest, main, memory_holds, skip, until,  # noqa: E402
                     url_parts)

if not shutil.which("openssl"):
    skip("needs the program openssl (Debian: openssl)")

CERTS = tempfile.mkdtemp(prefix="ctask-tls-")
PASSWORD = "5ecret-that-nobody-may-read"


def setUpModule():
    subprocess.run(["sh", os.path.join(os.path.dirname(__file__), "../support/certs.sh"), CERTS],
                   check=True)


def tearDownModule():
    shutil.rmtree(CERTS)


def pem(name):
    return os.path.join(CERTS, name)


class Terminal:
    """The server's end of TLS, with the tests' plain broker behind it."""

    def __init__(self, demand=False):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem("ca.pem"))
        self.context.load_cert_chain(pem("server.pem"), pem("server.key"))
        if demand:
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.clients, self.subjects, self._leave = [], [], False
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        user, password, _, _ = url_parts()
        self.url = "amqps://%s:%s@127.0.0.1:%d/?cafile=%s" % (
            user, password, self.listener.getsockname()[1], pem("ca.pem"))

    def _accept(self, listener):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):
            client.close()
            return
        broker = socket.create_connection(url_parts()[2:])
        self.subjects.append((client.getpeercert() or {}).get("subject"))
        self.clients.append(client)
        try:
            while not self._leave:
                # What TLS has already, select does not know about.
                ready = [client] if client.pending() else select.select([client, broker], [], [],
                                                                        0.01)[0]
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    (broker if end is client else client).sendall(data)
            self.clients.remove(client)
            client.settimeout(0)
            client.unwrap()  # says goodbye; what the client says afterwards is not read
        except (ssl.SSLError, OSError, ValueError):
            pass
        finally:
            client.close()
            broker.close()

    def goodbye(self):
        """close_notify on every connection there is."""
        self._leave = True
        until("all are closed", lambda: not self.clients)
        self._leave = False

    def close(self):
        self._leave = True
        self.listener.close()


def ctask(url, *args, stdin=None):
    return subprocess.run([os.path.join(BIN, "ctask")] + list(args), input=stdin, text=True,
                          capture_output=True, timeout=GIVE_UP,
                          env=dict(os.environ, CTASK_BROKER_URL=url))


class Works(BrokerTest):
    def terminal(self, **kwargs):
        terminal = Terminal(**kwargs)
        self.addCleanup(terminal.close)
        return terminal

    def test_tasks_and_results_small_and_large(self):
        terminal = self.terminal()
        worker = self.worker("-c", "2", url=terminal.url)
        many = ctask(terminal.url, "map", "-q", "-Q", self.queue, "is_prime",
                     stdin="".join("%d\n" % n for n in range(2000)))
        self.assertEqual((many.returncode, many.stdout.count("true")), (0, 303), many.stderr)
        large = '["%s"]\n' % ("x" * 3000000)
        echo = ctask(terminal.url, "map", "-q", "-Q", self.queue, "demo.echo", stdin=large * 3)
        self.assertEqual((echo.returncode, len(echo.stdout)), (0, 3 * 3000003), echo.stderr)
        self.assertIn("amqps://", worker.log())
        self.assertEqual(worker.stop(), 0)

    def test_a_goodbye_in_the_middle_loses_nothing(self):
        terminal = self.terminal()
        worker = self.worker("-c", "2", url=terminal.url)
        tasks = [self.bus.send(self.queue, "demo.sleep", [0.01]) for _ in range(150)]
        until("some are done", lambda: self.bus.depth(self.bus.reply_to) > 20)
        terminal.goodbye()
        worker.expect("connection lost: (the broker at .* closed the connection|lost the broker at )")
        worker.expect("connected again")
        found = {}
        while set(found) != set(tasks):
            body = self.bus.take(self.bus.reply_to)
            found[body.properties["correlation_id"]] = body
        self.assertEqual(worker.stop(), 0)

    def test_a_certificate_is_shown_to_who_demands_one(self):
        terminal = self.terminal(demand=True)
        files = "&certfile=%s&keyfile=%s" % (pem("client.pem"), pem("client.key"))
        self.worker(url=terminal.url + files)
        done = ctask(terminal.url + files, "call", "-Q", self.queue, "is_prime", "97")
        self.assertEqual((done.returncode, done.stdout), (0, "true\n"), done.stderr)
        self.assertEqual(set(terminal.subjects), {((("commonName", "client"),),)})


def key_bytes(path):
    """A private key in the forms that it has in memory: in its file, as numbers of either order."""
    with open(path) as file:
        lines = [line.strip().encode() for line in file if not line.startswith("-----")]
    text = subprocess.run(["openssl", "pkey", "-in", path, "-noout", "-text"], check=True,
                          capture_output=True, text=True).stdout
    numbers = [bytes.fromhex(re.sub(r"[\s:]", "", digits)).lstrip(b"\0") for digits in re.findall(
        r"^(?:priv|privateExponent|prime1|prime2|exponent1|exponent2|coefficient):\n((?: +.*\n)+)",
        text, re.M)]
    return lines[1:-1] + numbers + [number[::-1] for number in numbers]


class Keys(BrokerTest):
    """What as good as opens the broker's door is not in the memory of those who run tasks."""

    @unittest.skipUnless(os.geteuid() == 0 and not os.environ.get("CTASK_SANITIZED"),
                         "reads the memory of processes")
    def test_no_child_is_born_with_the_keys_of_the_connection(self):
        subprocess.run("openssl req -newkey rsa:2048 -nodes -subj /CN=rsa -keyout rsa.key -out rsa.csr;"
                       "openssl x509 -req -in rsa.csr -CA ca.pem -CAkey ca.key -days 30 -out rsa.pem;"
                       "cat client.pem client.key >both.pem", shell=True, check=True, cwd=CERTS,
                       stderr=subprocess.DEVNULL)
        for certfile, keyfile in ("client.pem", "client.key"), ("rsa.pem", "rsa.key"), \
                ("both.pem", "both.pem"):
            terminal = Terminal(demand=True)
            self.addCleanup(terminal.close)
            terminal.context.keylog_filename = pem(certfile + ".log")
            worker = self.worker("-c", "2", url="%s&certfile=%s&keyfile=%s" % (
                terminal.url, pem(certfile), pem(keyfile)))
            first = worker.children()
            for child in first:
                os.kill(child, signal.SIGKILL)
            until("all are born after the login",
                  lambda: len(worker.children()) == 2 and not set(worker.children()) & set(first))
            self.bus.results(*[self.bus.send(self.queue) for _ in range(10)])
            keys = key_bytes(pem(keyfile))
            self.assertGreater(len(keys), 2)
            with open(pem(certfile + ".log")) as log:
                traffic = [bytes.fromhex(line.split()[2]) for line in log if line[0] != "#"]
            self.assertGreater(len(traffic), 4)
            self.assertTrue(memory_holds(worker.pid, *keys), "the test sees no key")
            self.assertTrue(memory_holds(worker.pid, *traffic), "nor these")
            for child in worker.children():
                self.assertFalse(memory_holds(child, *keys), "the key, " + keyfile)
                self.assertFalse(memory_holds(child, *traffic), "what it encrypts with")
            self.assertEqual(worker.stop(), 0)

    def test_a_key_that_everybody_may_read_gets_a_warning(self):
        terminal = Terminal(demand=True)
        self.addCleanup(terminal.close)
        for mode, warnings in (0o600, 0), (0o604, 1):
            os.chmod(pem("client.key"), mode)
            worker = self.worker("-c", "1", url="%s&certfile=%s&keyfile=%s" % (
                terminal.url, pem("client.pem"), pem("client.key")))
            worker.stop()
            self.assertEqual(worker.log().count("keyfile=%s can be read by every user" %
                                                pem("client.key")), warnings)


class Refused(BrokerTest):
    """Each with the worker and the command line; the reason comes from one place."""

    def assert_refused(self, port, status, reason, query="cafile=" + pem("ca.pem"),
                       host="127.0.0.1"):
        url = "amqps://bob:%s@%s:%d/?%s" % (PASSWORD, host, port, query)
        worker = subprocess.run([os.path.join(BIN, "ctask-worker"), "-A", "primes", "-l", "error"],
                                text=True, capture_output=True, timeout=GIVE_UP,
                                env=dict(os.environ, CTASK_BROKER_URL=url))
        called = ctask(url, "call", "-Q", self.queue, "is_prime", "97")
        for done in worker, called:
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertRegex(done.stderr, reason)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertNotIn(PASSWORD, done.stderr)

    def server(self, name, *options):
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pem(name + ".pem"), "-key",
             pem(name + ".key"), "-CAfile", pem("ca.pem")] + list(options),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def end():
            server.kill()
            server.communicate()
        self.addCleanup(end)
        for line in server.stdout:
            if line.startswith("ACCEPT"):
                return int(line.rsplit(":", 1)[1])
        self.fail("openssl s_server does not listen")

    def test_expired(self):
        self.assert_refused(self.server("expired"), 77, "has expired")

    def test_for_another_host(self):
        port = self.server("misnamed")
        self.assert_refused(port, 77, 'not for the address "127.0.0.1"')
        self.assert_refused(port, 77, 'not for the name "localhost"', host="localhost")

    def test_of_an_authority_that_is_not_trusted(self):
        port = self.server("strange")
        self.assert_refused(port, 77, "authority that is not trusted here: .*cafile=")
        self.assert_refused(port, 77, "authority that is not trusted here: .*cafile=", query="")

    def test_too_old(self):
        port = self.server("server", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assert_refused(port, 69, "no TLS of version 1.2 or later")

    def test_a_client_certificate_is_demanded(self):
        self.assert_refused(self.server("server", "-Verify", "1", "-verify_return_error"), 77,
                            "demands a client certificate: .*certfile=")
        terminal = Terminal(demand=True)
        self.addCleanup(terminal.close)
        port = terminal.listener.getsockname()[1]
        self.assert_refused(port, 77, "demands a client certificate")
        stranger = "cafile=%s&certfile=%s&keyfile=%s" % (pem("ca.pem"), pem("strange.pem"),
                                                         pem("strange.key"))
        self.assert_refused(port, 77, "does not accept the certificate of certfile", stranger)

    def test_files_that_are_of_no_use(self):
        port = self.server("server")
        self.assert_refused(port, 2, "cafile=/no/such of the broker URL: No such file",
                            "cafile=/no/such")
        self.assert_refused(port, 2, "is the key of another certificate", "certfile=%s&keyfile=%s"
                            % (pem("client.pem"), pem("strange.key")))

    def test_no_tls_there_and_not_one_byte_in_plain(self):
        heard = []

        def serve():
            while True:
                try:
                    client = listener.accept()[0]
                except OSError:
                    return
                heard.append(client.recv(65536))
                client.settimeout(GIVE_UP)
                try:
                    client.sendall(b"AMQP\0\0\x09\x01")
                    rest = client.recv(65536)
                    while rest:
                        heard[-1] += rest
                        rest = client.recv(65536)
                except ConnectionResetError:
                    pass  # it left without reading all of the answer
                client.close()

        listener = socket.create_server(("127.0.0.1", 0))
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        self.assert_refused(listener.getsockname()[1], 69, "no TLS is spoken there")
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
        listener.close()
        self.assertGreaterEqual(len(heard), 2)
        for said in heard:
            self.assertEqual(said[:2], b"\x16\x03")  # a handshake, and an alert at most
            self.assertNotIn(b"AMQP", said)
            self.assertNotIn(PASSWORD.encode(), said)

    def test_the_plain_port_itself(self):
        self.assert_refused(url_parts()[3], 69, "no TLS is spoken there")


if __name__ == "__main__":
    main()
