"""The internal listener of a site: its pages, and its metrics as Prometheus reads them."""
import http.client
import json

import process
import pytest
from web import Answer, Site

parser = pytest.importorskip("prometheus_client.parser", reason="python3-prometheus-client is not installed")
openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = process.connect(self.path)


class Inside:
    """A site with an internal listener."""

    def __init__(self, tokiophp, root, pool="", unix=None, **how):
        self.address = unix or ("127.0.0.1", process.free_port())
        text = unix or "127.0.0.1:%d" % self.address[1]
        self.site = Site(tokiophp, root, f"http.internal_listen = {text}\n{pool}", **how)
        self.server = self.site.server
        process.wait_for(lambda: self.get("/health/ready").status in (200, 401), what="a server that is ready")

    def get(self, path, **fields):
        c = Unix(self.address) if isinstance(self.address, str) else http.client.HTTPConnection(*self.address, timeout=10)
        try:
            c.request(fields.pop("method", "GET"), path, headers={k.replace("_", "-"): v for k, v in fields.items()})
            return Answer(c.getresponse())
        finally:
            c.close()

    def json(self, path, **fields):
        return json.loads(self.get(path, **fields).body)

    def samples(self, kind="text"):
        """{(name, labels): value}"""
        if kind == "text":
            answer = self.get("/metrics")
            assert answer.get("Content-Type").startswith("text/plain; version=0.0.4")
            families = list(parser.text_string_to_metric_families(answer.text))
        else:
            answer = self.get("/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
            assert answer.get("Content-Type").startswith("application/openmetrics-text; version=1.0.0")
            families = list(openmetrics.text_string_to_metric_families(answer.text))
        assert len({f.name for f in families}) == len(families), "a family came twice"
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def by(samples, name, label=None):
    """Sum over pools; with a label: {value of the label: sum}"""
    found = [(dict(labels), v) for (n, labels), v in samples.items() if n == name]
    assert found, f"{name} is not there"
    if label is None:
        return sum(v for _, v in found)
    out = {}
    for labels, v in found:
        out[labels[label]] = out.get(labels[label], 0) + v
    return out
