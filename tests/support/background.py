"""What goes on beside a test, in threads, while a `with` lasts."""
import threading


class Background:
    """Runs each of these once, in a thread of its own; they end soon after self.over is set."""

    def __init__(self, *runs):
        self.over = threading.Event()
        self.threads = [threading.Thread(target=run) for run in runs]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()
