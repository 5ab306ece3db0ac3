"""The memory of a process while something happens, sampled."""

import threading
from pathlib import Path


class Memory:
    """Samples VmRSS every 10 ms from entering to leaving."""

    def __init__(self, pid):
        self._status = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.start = self.most = self.end = 0
        self.samples = 0

    def __enter__(self):
        self.start = self.most = self._resident()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.end = self._sample()

    def _run(self):
        while not self._stop.wait(0.01):
            self._sample()

    def _sample(self):
        now = self._resident()
        self.most = max(self.most, now)
        self.samples += 1
        return now

    def _resident(self):
        """KiB."""
        for line in self._status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"{self._status} has no VmRSS")

    @property
    def growth(self):
        """MiB."""
        return (self.most - self.start) / 1024

    def brief(self):
        return f"RSS {self.start / 1024:.1f} at first, {self.most / 1024:.1f} at most, {self.end / 1024:.1f} MiB at the end, {self.samples} samples"
