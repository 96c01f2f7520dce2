"""The error that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: one line naming the thing, the value and the way out.

    The command line prints the message alone, without a traceback, and exits with 1.
    """


class Interrupted(UserError):
    """The user, or the scheduler, asked the run to stop; what was finished is kept."""
