"""The exceptions of the core, by whose fault they are.

What the service or the network does wrong while an exchange runs is no exception here but a value
(`failures.Failure`), because something is decided on it.
"""


class StagewhisperError(Exception):
    """The base of every exception that this project raises on purpose. Its text is one line without secrets."""


class ClientRequestError(StagewhisperError):
    """The client asked for something that cannot be done, and is told where.

    `place` is a path into the request such as `messages[2].content[0]`, or `""` for the request as a whole.
    `error_type` is one of the Messages API's error types (`anthropic.STATUS_OF_ERROR` has their statuses).
    """

    def __init__(self, place: str, problem: str, *, error_type: str = "invalid_request_error") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem
        self.error_type = error_type


class ShellError(StagewhisperError):
    """The shell broke the core's contract, such as by reporting what no want had asked for: a bug of ours."""
