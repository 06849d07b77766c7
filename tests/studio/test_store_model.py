"""In any order of events no job is lost, none is done twice, and no two attempts are alike."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from desmezcla.studio.store import JobStore
from desmezcla.studio.tables import Job

LEASE_S = 10.0
WORKERS = ("a", "b", "c")


class Queue(RuleBasedStateMachine):
    """Clients, workers that die or fall silent, and a supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.store = JobStore(
            "sqlite://", lease_s=LEASE_S, max_deaths=1000, clock=lambda: self.now_s
        )
        self.jobs: list[str] = []
        self.held: dict[str, Job] = {}
        self.attempts: set[tuple[str, int]] = set()
        self.finished: set[str] = set()

    def teardown(self) -> None:
        self.store.close()

    @rule()
    def add(self) -> None:
        job_id = f"job-{len(self.jobs)}"
        self.now_s += 1e-3
        self.store.add(
            Job(
                id=job_id,
                client="c",
                name="n",
                suffix="",
                model="m",
                format="wav",
                stems=[],
                state="waiting",
            )
        )
        self.jobs.append(job_id)

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> None:
        job = self.store.claim(worker)
        if job is None:
            return
        assert (job.id, job.attempt) not in self.attempts
        assert job.id not in self.finished
        self.attempts.add((job.id, job.attempt))
        self.held[worker] = job

    @precondition(lambda self: self.held)
    @rule(data=st.data(), end=st.sampled_from(["finish", "fail", "give_back", "progress"]))
    def go_on(self, data: st.DataObject, end: str) -> None:
        """Let a worker go on, whether its job is still its own or not."""
        job = self.held[data.draw(st.sampled_from(sorted(self.held)))]
        if end == "finish":
            if self.store.finish(job, files={}, bytes=0):
                assert job.id not in self.finished
                self.finished.add(job.id)
        elif end == "fail":
            self.store.fail(job, "error")
        elif end == "give_back":
            self.store.give_back(job)
        else:
            self.store.progress(job, 0.5, None)

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        self.store.reclaim(worker)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.store.reclaim()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), what=st.sampled_from(["cancel", "retry"]))
    def ask(self, data: st.DataObject, what: str) -> None:
        job_id = data.draw(st.sampled_from(self.jobs))
        if what == "cancel":
            self.store.cancel(job_id)
        else:
            self.store.retry(job_id)

    @invariant()
    def nothing_is_lost(self) -> None:
        found = {job.id: job for job in self.store.of_client("c", limit=1000)}
        assert set(found) == set(self.jobs)
        assert {job.id for job in found.values() if job.state == "done"} == self.finished
        for job in found.values():
            assert (job.worker is not None) == (job.state == "running")


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
