"""Every error codojo raises on purpose, sorted by the boundary that failed.

    CodojoError
    ├── SettingsError            a setting, flag or dojo folder cannot be used
    ├── TaskError                a task, suite or samples file cannot be used
    │   └── ContaminationError   gate or held-out text was about to be learnt from
    ├── ImportRefused            a file of another program cannot be read as trajectories
    ├── LogError                 the trajectory log cannot be written or read
    │   ├── LogDamaged           bytes in the middle of a segment are not what was written
    │   ├── LogTooNew            a newer version of codojo wrote it
    │   ├── Busy                 another process holds what this one needs
    │   └── ReplayDiverged       a rollout that ran again asked for something else than the log holds
    │       └── LogEnds          the log of an unfinished rollout goes no further
    ├── BudgetExceeded           the tokens, calls or seconds of a run are spent
    ├── Stopped                  the process was told to end, and did so in order
    ├── EngineError              whatever serves the models failed
    │   ├── EngineUnavailable    not reachable, not ready, or died
    │   ├── RequestRefused       the engine answered that it will not do this
    │   └── WrongModel           another model than the one asked for answered
    ├── SandboxError             a cage could not be built or proved
    ├── MemoryStoreError         the memory index cannot be used
    ├── MeasurementRefused       a benchmark would say nothing on this machine now
    └── TrainingError            no adapter came out, or it may not serve
        └── AdapterRejected      the load check or the registry refused it

A bad answer of a model is data (a `Verdict`, a parse failure in a step), never one of these.
A message says what failed, why, and what to do about it, with the values.
"""


class CodojoError(Exception):
    """Base of all errors that codojo raises on purpose; the command line prints it as one line."""

    exit_code = 1


class SettingsError(CodojoError):
    """A setting, a flag or a dojo folder cannot be used."""

    exit_code = 2


class TaskError(CodojoError):
    """A task, suite or samples file cannot be used."""

    exit_code = 2


class ContaminationError(TaskError):
    """Text of a gate or held-out task was about to be trained on or remembered."""


class ImportRefused(CodojoError):
    """A file that another program wrote cannot be read as trajectories; the message names the place."""

    exit_code = 2


class LogError(CodojoError):
    """The trajectory log cannot be written or read."""

    exit_code = 3


class LogDamaged(LogError):
    """A record in the middle of a segment fails its checksum."""


class LogTooNew(LogError):
    """A segment is in a version of the format that this codojo does not know."""


class Busy(LogError):
    """Another process holds the lock; the message names it."""


class ReplayDiverged(LogError):
    """A rollout that ran again asked for something else than the log holds: its graph has changed."""


class LogEnds(ReplayDiverged):
    """A replay asked for an effect that the log does not hold: the rollout is unfinished, or has changed."""


class BudgetExceeded(CodojoError):
    """The tokens, calls or seconds that a run or rollout may spend are spent."""

    exit_code = 4


class Stopped(CodojoError):
    """The process was told to end (SIGTERM); what was under way is in the log."""

    exit_code = 143


class EngineError(CodojoError):
    """Whatever serves the models failed."""

    exit_code = 5


class EngineUnavailable(EngineError):
    """The engine cannot be reached, is not ready, or died."""


class RequestRefused(EngineError):
    """The engine answered that it will not do this; asking again would not help."""


class WrongModel(EngineError):
    """Another model than the one asked for answered."""


class SandboxError(CodojoError):
    """A cage could not be built, or one of its barriers could not be proved."""

    exit_code = 6


class MemoryStoreError(CodojoError):
    """The memory index cannot be used."""

    exit_code = 7


class TrainingError(CodojoError):
    """Training produced no adapter."""

    exit_code = 8


class AdapterRejected(TrainingError):
    """The load check or the registry refused an adapter."""


class MeasurementRefused(CodojoError):
    """A benchmark would say nothing on this machine now."""

    exit_code = 9
