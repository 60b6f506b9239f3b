"""Whether the probes of a fleet tell the truth: they are asked again and again, and what they said is compared with what
was done to the servers meanwhile. Standard library only."""

import collections
import contextlib
import threading
import time

from waiting import eventually

# Between two questions to one role, in seconds.
PAUSE = 0.2
# How long it may take until a probe says that a server is away, or back: an end of patience, no measure.
LAG = 20
# How often each role must have said that something is away before it is brought back. An answer may take as long as the
# patience of who asks.
OFTEN = 3
ALWAYS_REQUIRED = ("database", "cache")

# What a role said: from when to when it was asked, whether each dependency answers, and all of it for people.
Answer = collections.namedtuple("Answer", "began ended states text")


def told_by_app(fleet):
    status, body = fleet.ready()
    states = {name: each["ok"] for name, each in body["dependencies"].items()}
    ready = all(states[name] for name in ALWAYS_REQUIRED)
    assert (status, body["status"]) == ((200, "ok") if ready else (503, "unavailable")), (status, body)
    return states, body


def told_by_mcp(fleet):
    status, body = fleet.request("GET", "mcp/health", base=fleet.mcp.address, authorized=False)
    health = body["dependencies"]
    states = {name: word == "ok" for name, word in health["dependencies"].items()}
    word = "ok" if all(states.values()) else "degraded" if states["knowledge"] else "error"
    assert (status, body["status"], health["status"]) == (200, "ok", word), (status, body)
    return states, body


class Away:
    """A dependency that was taken away, and when. `going` and `returns` are moments before something was done to it, `gone`
    and `back` moments after."""

    def __init__(self, name, roles):
        self.name, self.roles = name, roles
        self.going = time.monotonic()
        self.gone = self.returns = self.back = None


class Readiness:
    """Asks `app` and `mcp` inside `watched`."""

    ROLES = {"app": told_by_app, "mcp": told_by_mcp}
    # What each stands on. `mcp` has no variable of the broker.
    KNOWN = {"app": {"database", "cache", "knowledge", "broker", "storage"}, "mcp": {"database", "cache", "knowledge", "storage"}}

    def __init__(self, fleet):
        self.fleet = fleet
        self.forget()

    def forget(self):
        self.answers = {role: [] for role in self.ROLES}
        self.broken = []
        self.aways = {}

    def wait_ready(self):
        """Waits until every role says that all is there."""
        said = {}

        def ready():
            said.update({role: told(self.fleet)[0] for role, told in self.ROLES.items()})
            return all(all(states.values()) for states in said.values())

        eventually(ready, lambda: f"not ready: {said}", LAG)

    @contextlib.contextmanager
    def watched(self):
        """What is said inside the block must have been true, from its beginning to its end."""
        self.forget()
        over = threading.Event()
        askers = [threading.Thread(target=self._ask, args=(role, over)) for role in self.ROLES]
        for asker in askers:
            asker.start()
        try:
            yield
            # What is said when all is over counts as well.
            self._wait_until(self.ROLES, time.monotonic(), "says nothing", lambda answers: len(answers) >= 2)
        finally:
            over.set()
            for asker in askers:
                asker.join()
        self.judge()

    def _ask(self, role, over):
        while not over.wait(PAUSE):
            began = time.monotonic()
            try:
                states, text = self.ROLES[role](self.fleet)
            except Exception as error:  # whatever it was, nothing was told
                self.broken.append(f"{role} does not say clearly what is away: {error!r}")
                continue
            self.answers[role].append(Answer(began, time.monotonic(), states, text))

    @contextlib.contextmanager
    def away(self, name, fault, often=OFTEN):
        """A dependency is away inside the block, and is back afterwards. `fault` takes it away while it is entered. The block
        is entered once all who know the dependency have said so, and left once they have said so often. With `often=0` none
        of this is waited for: it is a moment that they may miss."""
        assert name not in self.aways, f"{name} goes once"
        away = self.aways[name] = Away(name, [role for role in self.ROLES if name in self.KNOWN[role]])

        def say_so(count):
            self._wait_until(away.roles, away.gone, f"does not say that {name} is away",
                             lambda answers: sum(not answer.states[name] for answer in answers) >= count)

        with fault:
            away.gone = time.monotonic()
            say_so(min(1, often))
            yield
            say_so(often)
            away.returns = time.monotonic()
        away.back = time.monotonic()
        self._wait_until(away.roles, away.back, f"does not say that {name} is back",
                         lambda answers: any(answer.states[name] for answer in answers))

    def _wait_until(self, roles, moment, what, condition):
        """Waits until the answers of each role to questions asked after the moment meet the condition."""
        for role in roles:
            answers = self.answers[role]
            eventually(lambda: condition([answer for answer in list(answers) if answer.began >= moment]),
                       lambda: f"{role} {what}: {answers[-1:]} {self.broken[:1]}", LAG)

    def judge(self):
        """Every answer against what was done."""
        assert not self.broken, self.broken[:5]
        for role, answers in self.answers.items():
            assert answers and self.KNOWN[role] <= set(answers[0].states), answers[:1]
            for name in answers[0].states:
                self._judge(role, name, answers)

    def _judge(self, role, name, answers):
        """What was there is never said to be away. What is away is said to be so from the first time on, until it is brought
        back; when it is back, that is said from the first time on."""
        away = self.aways.get(name) if name in self.KNOWN[role] else None
        told = back = False
        for answer in answers:
            ok = answer.states[name]
            if away is None or back or answer.ended < away.going:
                assert ok, f"{role} says that {name} is away, which was there: {answer.text}"
            elif answer.began >= away.back:
                back = ok
            elif answer.began >= away.gone and answer.ended <= away.returns:
                assert not (ok and told), f"{role} had said that {name} is away, and did not any more: {answer.text}"
                told = told or not ok

    def account(self):
        """What was said, for people: how many answers, and how long after its end something was said to be away."""
        words = [f"{len(answers)} answers of {role}" for role, answers in self.answers.items()]
        for away in self.aways.values():
            for role in away.roles:
                first = next((answer for answer in self.answers[role]
                              if away.gone and answer.ended >= away.gone and not answer.states[away.name]), None)
                words.append(f"{role} says after {first.ended - away.gone:.1f} s that {away.name} is away" if first else
                             f"{role} never says that {away.name} is away")
        return ", ".join(words)
