#!/usr/bin/env python3
"""h2spec, the conformance suite of HTTP/2, on each port that speaks it.

PROA_H2SPEC is the program; tools/suites.py builds it (h2spec/go.mod) where there is a Go. Without it
the tests are skipped visibly.
"""
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

import harness

H2SPEC = os.environ.get("PROA_H2SPEC", "")
AT_LEAST = 145  # cases that h2spec 2.2.1 has; fewer would mean that it gave up

# What h2spec, which tests RFC 7540, must not have from us, and why. A port that takes HTTP/1.1 too
# can't treat bytes that are no preface as broken HTTP/2: RFC 9113 section 3.4 has it that such a peer
# "is not using HTTP/2", so RFC 9112 section 3 decides: 400, then the connection ends. h2spec wants to
# see the end alone; test_bytes_that_are_no_preface_… looks at both.
EXCUSED = {"http2/3.5/2": "Sends invalid connection preface"}
NOT_XML = re.compile(rb"[^\t\n\r\x20-\x7e]|&#x?[0-9a-fA-F]+;")
INVALID_PREFACE = b"INVALID CONNECTION PREFACE\r\n\r\n"


def cases(report):
    """(number, title, failure or None) of each case in a JUnit report."""
    with open(report, "rb") as f:  # h2spec writes what it received as it is: bytes that XML doesn't have
        text = NOT_XML.sub(b"?", f.read())
    for suite in xml.fromstring(text):
        for n, case in enumerate(suite.findall("testcase"), 1):
            wrong = case.find("failure")
            if wrong is None:
                wrong = case.find("error")
            text = None if wrong is None else " ".join("".join(wrong.itertext()).split())
            yield f"{case.get('package')}/{n}", case.get("classname"), text


class H2Spec(harness.Case):
    def judge(self, port, excused=()):
        report = os.path.join(self.directory(), "report.xml")
        ran = subprocess.run([H2SPEC, "--strict", "--port", str(port), "--timeout", str(harness.WAIT // 3),
                              "--junit-report", report], capture_output=True, text=True, timeout=600)
        self.assertTrue(os.path.exists(report), ran.stdout + ran.stderr)
        all_ = list(cases(report))
        failed = [f"{number} {title}: {text}" for number, title, text in all_
                  if text is not None and (number, title) not in excused]
        self.assertEqual(failed, [], f"{len(failed)} of {len(all_)} cases failed")
        self.assertGreaterEqual(len(all_), AT_LEAST)

    def test_grpc_port(self):
        self.judge(self.sidecar().grpc)

    def test_internal_port(self):
        self.judge(self.sidecar().internal, EXCUSED.items())

    def test_http_port(self):
        self.judge(self.sidecar().http, EXCUSED.items())

    def test_bytes_that_are_no_preface_get_an_answer_of_http_1_1_and_the_end(self):
        s = self.sidecar()
        for port in (s.http, s.internal):
            self.assertRegex(harness.raw_exchange(port, INVALID_PREFACE), rb"\AHTTP/1\.1 400 ")
        self.assertEqual(harness.raw_exchange(s.grpc, INVALID_PREFACE), b"")


if __name__ == "__main__":
    if not os.path.exists(H2SPEC):
        print("SKIPPED: no h2spec: it takes Go 1.19 and its modules; tools/suites.py builds it")
        sys.exit(77)
    harness.main()
