"""A tracker as a user would write one for accelerate."""

from accelerate.tracking import GeneralTracker


class Recorder(GeneralTracker):
    """Keeps what it is sent."""

    name = "recorder"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.rows, self.settings, self.calls = [], {}, []

    @property
    def tracker(self):
        return self.rows

    def start(self):
        self.calls.append("start")

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step=None, **_):
        self.rows.append((step, dict(values)))

    def finish(self):
        self.calls.append("finish")
